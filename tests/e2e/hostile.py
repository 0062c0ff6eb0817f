"""An executor that abuses shared memory, once, and works well when it is started again.

usage: hostile.py TRICK FILE       (FILE is made when the trick is played)

cbor-2 without our library. Of type "scripted", as scripted.py, which plays the tricks that need no
shared memory.
"""

from __future__ import annotations

import array
import fcntl
import mmap
import os
import socket
import struct
import sys
import time
from typing import Any, NoReturn

import minicbor
import scripted

FLOOD = 100_000
SIZE = 1 << 20


class Peer(scripted.Peer):
    """Takes descriptors, too, and remembers the lease that it asked for."""

    def __init__(self, size: int = SIZE, **registration: Any) -> None:
        super().__init__()
        self.data = b""
        self.fds: list[int] = []
        self.regions: dict[int, int] = {}  # descriptors
        self.lease: dict[str, Any] = {}
        self.calls: list[dict[str, Any]] = []
        self.register(**{"protocol": "cbor-2", **registration})
        self.receive("welcome")
        self.ask(size)
        while not self.lease:
            region = self.receive("region")
            if region.get("request") == 1:
                self.lease = region
        self.free = self.lease["free"][0][0]

    def ask(self, size: int, request: int = 1) -> None:
        self.send("lease_request", {"request": request, "size": size})

    def receive(self, *names: str) -> Any:
        """The next message of these names; what comes before is taken note of."""
        while True:
            while len(self.data) < 4 or len(self.data) < 4 + self.length():
                data, fds, _, _ = socket.recv_fds(self.socket, 1 << 16, 64)
                if not data:
                    sys.exit()
                self.data += data
                self.fds += fds
            payload = self.data[4 : 4 + self.length()]
            self.data = self.data[4 + self.length() :]
            name, content = minicbor.loads(payload)
            if name == "region":
                self.regions[content["id"]] = self.fds.pop(0)
            if name in names:
                return content
            if name == "call":
                self.calls.append(content)

    def length(self) -> int:
        return int(struct.unpack("<I", self.data[:4])[0])

    def call(self) -> Any:
        return self.calls.pop(0) if self.calls else self.receive("call")

    def answer(self, call: Any, *places: Any, **more: Any) -> None:
        out = [{"at": place} for place in places]
        self.send("result", {"seq": call["seq"], "task": call["id"], "out": out, **more})

    def place(self, offset: int = 0, size: int = SIZE) -> list[int]:
        """In the lease."""
        return [self.lease["id"], self.free + offset, size]

    def memory(self, region: int, write: bool = True) -> mmap.mmap:
        mode = mmap.ACCESS_WRITE if write else mmap.ACCESS_READ
        return mmap.mmap(self.regions[region], 0, access=mode)


def answer_with(*places: Any, **more: Any) -> None:
    """Answer the first call with blobs at [region, offset, size] relative to the lease."""
    peer = Peer()
    call = peer.call()
    at = [[peer.lease["id"] + region, peer.free + offset, size] for region, offset, size in places]
    peer.answer(call, *at, **more)
    peer.wait_for_the_end()


def region_of_somebody_else() -> None:
    peer = Peer()
    call = peer.call()
    region, offset, _ = call["in"][0]["at"]
    peer.answer(call, [region, offset, 64])
    peer.wait_for_the_end()


def sealed_twice() -> None:
    peer = Peer()
    peer.answer(peer.call(), peer.place())
    peer.answer(peer.call(), peer.place())
    peer.wait_for_the_end()


def sealed_after_return() -> None:
    peer = Peer()
    call = peer.call()
    peer.send("lease_returned", {"regions": [peer.lease["id"]]})
    peer.answer(call, peer.place())
    peer.wait_for_the_end()


def released_twice() -> None:
    peer = Peer()
    call = peer.call()
    peer.answer(call, b"done", held=[0])
    for _ in range(2):
        peer.send("released", {"blobs": [call["in"][0]["at"]]})
    peer.wait_for_the_end()


def released_while_called() -> None:
    """Twice in effect: the end of the call releases it again."""
    peer = Peer()
    call = peer.call()
    peer.send("released", {"blobs": [call["in"][0]["at"]]})
    peer.answer(call, b"done")
    peer.wait_for_the_end()


def returned_twice() -> None:
    peer = Peer()
    peer.call()
    for _ in range(2):
        peer.send("lease_returned", {"regions": [peer.lease["id"]]})
    peer.wait_for_the_end()


def returned_for_somebody_else() -> None:
    peer = Peer()
    peer.send("lease_returned", {"regions": [peer.call()["in"][0]["at"][0]]})
    peer.wait_for_the_end()


def descriptor_flood(count: int) -> None:
    peer = Peer()
    peer.call()
    rights = array.array("i", [0] * count)
    message = scripted.frame(minicbor.dumps(["released", {"blobs": []}]))
    for _ in range(64):
        peer.socket.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    peer.wait_for_the_end()


def lease_flood() -> None:
    """Asks and asks and never reads an answer."""
    peer = Peer()
    peer.call()
    for request in range(2, FLOOD):
        peer.ask(SIZE, request)
    peer.wait_for_the_end()


def take_all(peer: Peer) -> None:
    """Leases, one after the other, until there are no more."""
    for request in range(2, FLOOD):
        peer.ask(4 * SIZE, request)
        while True:
            peer.socket.settimeout(1)  # the last request waits until the governor gives up
            try:
                region = peer.receive("region", "lease_refused")
            except TimeoutError:
                return
            if "message" in region:
                return
            if region.get("request") == request:
                break


def keeps_all_leases_in_a_call() -> None:
    peer = Peer()
    peer.call()
    take_all(peer)
    open(sys.argv[2] + ".took", "w").close()
    peer.wait_for_the_end()


def keeps_all_leases_after_its_call() -> None:
    peer = Peer()
    call = peer.call()
    take_all(peer)
    peer.answer(call, b"done")
    peer.wait_for_the_end()


def keeps_every_input() -> None:
    """Says that it still views what it was sent, for ever."""
    peer = Peer()
    while True:
        call = peer.call()
        peer.answer(call, b"done", held=list(range(len(call["in"]))))


def writes_after_the_seal() -> None:
    peer = Peer()
    memory = peer.memory(peer.lease["id"])
    call = peer.call()
    memory[peer.free : peer.free + 4] = b"good"
    peer.answer(call, peer.place())
    memory[peer.free : peer.free + 4] = b"evil"
    open(sys.argv[2] + ".wrote", "w").close()
    while True:
        peer.answer(peer.call(), b"done")


def tampers_with_descriptors() -> None:
    """What must fail: to write what is only read, to shrink or grow what others map."""
    peer = Peer()
    call = peer.call()
    region = call["in"][0]["at"][0]
    refused = []
    for what, attempt in {
        "map": lambda: peer.memory(region),
        "write": lambda: os.pwrite(peer.regions[region], b"evil", 0),
        "punch": lambda: fcntl.fcntl(peer.regions[region], fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE),
        "shrink": lambda: os.ftruncate(peer.regions[peer.lease["id"]], 0),
        "grow": lambda: os.ftruncate(peer.regions[peer.lease["id"]], 1 << 40),
        "seal": lambda: fcntl.fcntl(
            peer.regions[peer.lease["id"]], fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE
        ),
    }.items():
        try:
            attempt()
        except OSError:
            refused.append(what)
    peer.answer(call, " ".join(refused).encode())
    while True:
        peer.answer(peer.call(), b"done")


def boasts() -> None:
    """The largest numbers there are, where nobody can check them."""
    peer = Peer()
    top = (1 << 64) - 1
    call = peer.call()
    peer.answer(call, b"done", ns=top, copied=top, printed=[0, top, top - 1, top])
    while True:
        peer.answer(peer.call(), b"done")


def scribbles_on_the_board() -> None:
    peer = Peer(features=["board"])
    board = mmap.mmap(peer.fds.pop(0), 4096)
    call = peer.call()
    board[:] = b"\xff" * 4096
    peer.answer(call, b"done")
    while True:
        time.sleep(0.001)
        board[:] = os.urandom(4096)


def answers_two_times() -> None:
    peer = Peer()
    call = peer.call()
    peer.answer(call, peer.place())
    peer.answer(call, peer.place(SIZE))
    peer.wait_for_the_end()


TRICKS = {
    "unaligned_offset": lambda: answer_with((0, 1, 64)),
    "size_of_everything": lambda: answer_with((0, 0, (1 << 63) - 1)),
    "one_byte_too_many": lambda: answer_with((0, 0, 1 << 40)),
    "overlapping_outputs": lambda: answer_with((0, 0, 4096), (0, 64, 4096)),
    "one_place_for_two_outputs": lambda: answer_with((0, 0, 4096), (0, 0, 4096)),
    "region_of_nobody": lambda: answer_with((4711, 0, 64)),
    "region_of_somebody_else": region_of_somebody_else,
    "sealed_twice": sealed_twice,
    "sealed_after_return": sealed_after_return,
    "released_twice": released_twice,
    "released_while_called": released_while_called,
    "held_what_it_was_not_sent": lambda: answer_with((0, 0, 64), held=[7]),
    "printed_backwards": lambda: answer_with((0, 0, 64), printed=[5, 4, 0, 0]),
    "returned_twice": returned_twice,
    "returned_for_somebody_else": returned_for_somebody_else,
    "descriptor": lambda: descriptor_flood(1),
    "descriptor_flood": lambda: descriptor_flood(200),
    "lease_flood": lease_flood,
    "keeps_all_leases_in_a_call": keeps_all_leases_in_a_call,
    "keeps_all_leases_after_its_call": keeps_all_leases_after_its_call,
    "keeps_every_input": keeps_every_input,
    "writes_after_the_seal": writes_after_the_seal,
    "tampers_with_descriptors": tampers_with_descriptors,
    "boasts": boasts,
    "scribbles_on_the_board": scribbles_on_the_board,
    "answers_two_times": answers_two_times,
}


def main() -> NoReturn:
    trick, file = sys.argv[1:]
    try:
        os.close(os.open(file, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        peer = scripted.Peer()
        peer.register()
        scripted.serve(peer)
    TRICKS[trick]()
    sys.exit()


if __name__ == "__main__":
    main()
