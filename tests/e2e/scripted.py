"""An executor that does one wrong thing, once, and works well when it is started again.

usage: scripted.py TRICK FILE       (FILE is made when the wrong thing is done)

cbor-1 without our library; the tricks with regions speak cbor-2. Every task answers with its first
input, or with b"done".
"""

from __future__ import annotations

import os
import random
import signal
import socket
import struct
import sys
import time
from typing import Any, NoReturn

import minicbor

NAME = "scripted"
LIMIT = 128 * 1024 * 1024


class Peer:
    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(os.environ["RAIN_EXECUTOR_SOCKET"])
        self.stream = self.socket.makefile("rb")

    def raw(self, data: bytes) -> None:
        self.socket.sendall(data)

    def send(self, name: Any, content: Any) -> None:
        payload = minicbor.dumps([name, content])
        self.raw(struct.pack("<I", len(payload)) + payload)

    def register(self, **changes: Any) -> None:
        executor_id = int(os.environ["RAIN_EXECUTOR_ID"])
        usual = {"protocol": "cbor-1", "executor_id": executor_id, "executor_type": NAME}
        self.send("register", usual | changes)

    def next(self, *names: str) -> Any:
        """The next message of these names."""
        while header := self.stream.read(4):
            name, data = minicbor.loads(self.stream.read(struct.unpack("<I", header)[0]))
            if name in names:
                return data
        sys.exit()

    def wait_for_the_end(self) -> NoReturn:
        """The governor kills who talks nonsense; it need not end by itself."""
        while True:
            signal.pause()


# ---- Instead of registering --------------------------------------------------------------------


def exits_at_once() -> None:
    print("scripted: no such library", file=sys.stderr)
    sys.exit(7)


def never_connects() -> None:
    print("scripted: thinking", file=sys.stderr, flush=True)
    while True:
        signal.pause()


def never_registers() -> None:
    Peer().wait_for_the_end()


def closes_at_once() -> None:
    Peer().socket.close()
    never_connects()


def other_type() -> None:
    peer = Peer()
    peer.register(executor_type="somebody")
    peer.wait_for_the_end()


def other_id() -> None:
    peer = Peer()
    peer.register(executor_id=4711)
    peer.wait_for_the_end()


def other_protocol() -> None:
    peer = Peer()
    peer.register(protocol="cbor-7")
    peer.wait_for_the_end()


def older_protocol() -> None:
    peer = Peer()
    peer.register(protocol="cbor-0", tasklib="0.0.1")
    peer.wait_for_the_end()


def registers_twice() -> None:
    peer = Peer()
    peer.register()
    peer.register()
    peer.wait_for_the_end()


def first_says_something_else() -> None:
    peer = Peer()
    peer.send("result", {"task": [1, 10], "success": True, "info": {}})
    peer.wait_for_the_end()


def waits_for_go() -> None:
    while not os.path.exists(sys.argv[2] + ".go"):
        time.sleep(0.01)
    peer = Peer()
    peer.register()
    serve(peer)


def starts_with(data: bytes) -> None:
    peer = Peer()
    peer.raw(data)
    peer.wait_for_the_end()


# ---- Instead of a result -----------------------------------------------------------------------


def called() -> tuple[Peer, list[int]]:
    peer = Peer()
    peer.register()
    task: list[int] = peer.next("call")["spec"]["id"]
    return peer, task


def answers_with(data: bytes) -> None:
    peer, _ = called()
    peer.raw(data)
    peer.wait_for_the_end()


def ends_in_a_frame() -> None:
    peer, _ = called()
    peer.raw(struct.pack("<I", 100) + b"\x82")
    peer.socket.shutdown(socket.SHUT_WR)
    peer.wait_for_the_end()


def result_for_another_task() -> None:
    peer, (session, number) = called()
    peer.send("result", {"task": [session, number + 90], "success": True, "info": {}})
    peer.wait_for_the_end()


def two_results() -> None:
    peer, task = called()
    output = {"info": {}, "location": ["memory", b"first"]}
    result = {"task": task, "success": True, "info": {}, "outputs": [output]}
    peer.send("result", result)
    peer.send("result", result)
    peer.wait_for_the_end()


def result_and_more() -> None:
    peer, task = called()
    peer.raw(frame(minicbor.dumps(["result", {"task": task, "success": True, "info": {}}]) + b"0"))
    peer.wait_for_the_end()


def wrong_content(**changes: Any) -> None:
    peer, task = called()
    peer.send("result", {"task": task, "success": True, "info": {}} | changes)
    peer.wait_for_the_end()


def answer_and_go_on(outputs: list[Any]) -> None:
    """Such a result is the task's error alone."""
    peer, task = called()
    peer.send("result", {"task": task, "success": True, "info": {}, "outputs": outputs})
    serve(peer)


def output_at(location: Any) -> None:
    answer_and_go_on([{"info": {}, "location": location}])


def link_to_outside() -> None:
    os.symlink("/etc/passwd", "link")
    output_at(["path", os.path.join(os.getcwd(), "link")])


# ---- Regions -----------------------------------------------------------------------------------


def blob_at(region: int, offset: int, size: int) -> None:
    """`region` and `offset` are relative to a leased one and its free bytes."""
    peer = Peer()
    peer.register(protocol="cbor-2")
    peer.send("lease_request", {"request": 1, "size": 1 << 16})
    call, lease = None, None
    while call is None or lease is None:
        message = peer.next("call", "region")
        if "seq" in message:
            call = message
        elif message.get("request") == 1:
            lease = message
    at = [lease["id"] + region, lease["free"][0][0] + offset, size]
    peer.send("result", {"seq": call["seq"], "task": call["id"], "out": [{"at": at}]})
    peer.wait_for_the_end()


def slice_at(offset: int, size: int, number: int | None = None) -> None:
    """Of the first input, unless it says of which object."""
    peer = Peer()
    peer.register(protocol="cbor-2")
    call = peer.next("call")
    session, first = call["in"][0]["id"]
    at = [[session, first if number is None else number], offset, size]
    peer.send("result", {"seq": call["seq"], "task": call["id"], "out": [{"at": at}]})
    peer.wait_for_the_end()


def file_slice() -> None:
    peer = Peer()
    peer.register(protocol="cbor-2")
    call = peer.next("call")
    at = ["/etc/passwd", 0, 1]
    peer.send("result", {"seq": call["seq"], "task": call["id"], "out": [{"at": at}]})
    peer.wait_for_the_end()


def message_of_cbor2(name: str, content: Any, **changes: Any) -> None:
    peer = Peer()
    peer.register(protocol="cbor-2", **changes)
    peer.next("call")
    peer.send(name, content)
    peer.wait_for_the_end()


def serve(peer: Peer) -> NoReturn:
    while True:
        call = peer.next("call")
        inputs = [entry["spec"]["id"] for entry in call["inputs"]]
        location = ["other_object", inputs[0]] if inputs else ["memory", b"done"]
        output = {"info": {}, "location": location}
        result = {"task": call["spec"]["id"], "success": True, "info": {}, "outputs": [output]}
        peer.send("result", result)


def frame(payload: bytes) -> bytes:
    return struct.pack("<I", len(payload)) + payload


TRICKS = {
    "exits_at_once": exits_at_once,
    "never_connects": never_connects,
    "waits_for_go": waits_for_go,
    "never_registers": never_registers,
    "closes_at_once": closes_at_once,
    "other_type": other_type,
    "other_id": other_id,
    "other_protocol": other_protocol,
    "older_protocol": older_protocol,
    "registers_twice": registers_twice,
    "first_says_something_else": first_says_something_else,
    "starts_with_random_bytes": lambda: starts_with(frame(random.Random(7).randbytes(500))),
    "starts_with_oversize_frame": lambda: starts_with(struct.pack("<I", LIMIT + 1)),
    "starts_with_empty_frame": lambda: starts_with(bytes(4)),
    "oversize_frame": lambda: answers_with(struct.pack("<I", LIMIT + 1) + b"\x82"),
    "empty_frame": lambda: answers_with(bytes(4)),
    "random_bytes": lambda: answers_with(frame(b"\xff" + random.Random(8).randbytes(500))),
    "ends_in_a_frame": ends_in_a_frame,
    "map_instead_of_message": lambda: answers_with(frame(minicbor.dumps({"result": 1}))),
    "unknown_message": lambda: answers_with(frame(minicbor.dumps(["resolt", {}]))),
    "result_without_task": lambda: answers_with(frame(minicbor.dumps(["result", {"info": {}}]))),
    "result_and_more": result_and_more,
    "success_as_text": lambda: wrong_content(success="yes"),
    "outputs_as_map": lambda: wrong_content(outputs={}),
    "unknown_key": lambda: wrong_content(outpots=[]),
    "result_for_another_task": result_for_another_task,
    "two_results": two_results,
    "cached_what_it_never_got": lambda: wrong_content(cached_objects=[[1, 4711]]),
    "unknown_location": lambda: output_at(["pigeon", "post"]),
    "too_few_outputs": lambda: answer_and_go_on([]),
    "no_location": lambda: output_at(None),
    "cached_location": lambda: output_at("cached"),
    "path_outside": lambda: output_at(["path", "/etc/passwd"]),
    "path_upwards": lambda: output_at(["path", os.getcwd() + "/.." * 30 + "/etc/passwd"]),
    "path_of_link_to_outside": link_to_outside,
    "path_relative": lambda: output_at(["path", "out.txt"]),
    "path_of_nothing": lambda: output_at(["path", os.getcwd() + "/nothing"]),
    "other_object_unknown": lambda: output_at(["other_object", [1, 4711]]),
    "region_never_leased": lambda: blob_at(1000, 0, 64),
    "offset_behind_region": lambda: blob_at(0, 1 << 40, 64),
    "size_behind_region": lambda: blob_at(0, 0, 1 << 40),
    "offset_and_size_overflow": lambda: blob_at(0, (1 << 63) - 128, (1 << 63) - 1),
    "slice_behind_input": lambda: slice_at(1, 2),
    "slice_far_behind_input": lambda: slice_at((1 << 63) - 1, (1 << 63) - 1),
    "slice_larger_than_input": lambda: slice_at(0, 3),
    "slice_of_a_file": file_slice,
    "released_what_it_never_held": lambda: message_of_cbor2("released", {"blobs": [[1, 0, 64]]}),
    "newer_message": lambda: message_of_cbor2("tomorrow", {}, tasklib="999.0"),
    "log_of_no_call": lambda: message_of_cbor2("log", {"seq": 4711, "level": 20, "text": "x"}),
    "debug_of_no_call": lambda: message_of_cbor2("debug", {"seq": 4711, "text": "x"}),
    "returned_what_it_never_had": lambda: message_of_cbor2("lease_returned", {"regions": [4711]}),
}


def main() -> None:
    trick, file = sys.argv[1:]
    try:
        os.close(os.open(file, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        peer = Peer()
        peer.register()
        serve(peer)
    TRICKS[trick]()


if __name__ == "__main__":
    main()
