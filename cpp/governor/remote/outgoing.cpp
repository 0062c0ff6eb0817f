#include "remote/outgoing.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <utility>

#include "base/syscall.h"

namespace rain::remote {

using tasklib::base::checked;

Outgoing::Outgoing()
    : owner_(::getpid()),
      event_(checked("eventfd", "", [] { return ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); })) {}

bool Outgoing::forked() const { return ::getpid() != owner_; }

std::vector<Note> Outgoing::take() {
  if (forked()) return {};  // the lock may be held by a thread that isn't here
  std::lock_guard lock(mutex_);
  std::uint64_t ignored = 0;
  if (!notes_.empty()) (void)!::read(event_.get(), &ignored, sizeof ignored);
  return std::exchange(notes_, {});
}

void Outgoing::push(Note note) {
  if (forked()) return;
  std::lock_guard lock(mutex_);
  notes_.push_back(std::move(note));
  const std::uint64_t one = 1;
  if (notes_.size() == 1) (void)!::write(event_.get(), &one, sizeof one);
}

}  // namespace rain::remote
