"""Prints, as JSON, tasks for `python -m rain.executor` of Rain 0.4, pickled as its client did it.

Runs under the old Python, beside the old library: pickled code is for one version of Python.

"functions": name -> base64 of the cloudpickled function, a task's input 0.
"inputs": base64 of the argument that stands for input 1, 2, 3.
"loaded": the same, decoded by its content type before the function sees it.
"""

import base64
import json
import os
import time

import cloudpickle
from rain.executor.executor import unpickle_input_object


def hello(ctx, name):
    return "Hello {}!".format(name.get_str())


def concat(ctx, *parts):
    return b"".join(part.get_bytes() for part in parts)


def stage_file(ctx, data):
    with open("out.bin", "wb") as file:
        file.write(data.get_bytes())
    return ctx.stage_file("out.bin", content_type="text")


def same(ctx, data):
    return data


def path(ctx, data):
    return data._path or "memory"


def nothing(ctx):
    return b""


def attributes(ctx, data):
    ctx.info.user["answer"] = 42
    ctx.debug("seen {}", data.spec.label)
    label = ctx.spec.inputs[1].label
    out = ctx.blob("{} {} result".format(label, data.content_type), encode="text")
    out.info.user["unit"] = "metre"
    return out


def pair(ctx, data):
    return {"second": data, "first": "1", "surplus": 3}


def plus_one(ctx, numbers):
    return [number + 1 for number in numbers]


def fail(ctx, text):
    raise ValueError(text.get_str())


def crash(ctx):
    os.write(2, b"crashed on purpose\n")
    os.abort()


def pid(ctx):
    return str(os.getpid())


def meet(ctx, own, other):
    open(own.get_str(), "w").close()
    begin = time.time()
    while not os.path.exists(other.get_str()):
        if time.time() - begin > 60:
            raise Exception("nobody came within 60 s")
        time.sleep(0.002)
    return str(os.getpid())


def count(ctx):
    """How often this very function object was called; it is made anew when its pickle is sent."""
    ctx.function.calls = getattr(ctx.function, "calls", 0) + 1
    return str(ctx.function.calls)


def cache(ctx):
    """What the executor holds, by object id."""
    return json.dumps(sorted(ctx._executor.cache))


class Placeholder:
    """Pickled as what the executor replaces by an input."""

    def __init__(self, index, load):
        self.arguments = ("input{}".format(index), index, load, None)

    def __reduce__(self):
        return unpickle_input_object, self.arguments


def pickled(value):
    return base64.b64encode(cloudpickle.dumps(value)).decode()


TASKS = (
    hello, concat, stage_file, same, path, nothing, attributes, pair, plus_one, fail, crash, pid,
    meet, count, cache,
)  # fmt: skip

if __name__ == "__main__":
    print(json.dumps({
        "functions": {function.__name__: pickled(function) for function in TASKS},
        "inputs": [pickled(Placeholder(index, False)) for index in (1, 2, 3)],
        "loaded": [pickled(Placeholder(index, True)) for index in (1, 2, 3)],
    }))  # fmt: skip
