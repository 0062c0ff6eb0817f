"""Tasks in C++ and Python, fed through shared memory: rain.client, rain.tasklib."""
