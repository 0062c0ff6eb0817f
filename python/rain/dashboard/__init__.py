"""What runs, live: a page for people, JSON and metrics for programs, over HTTP.

`source` looks at governors, `feed` tells browsers what has changed, `site` answers requests without
knowing a transport; `server` (a thread of the client's process) and `rain.governor.http` (a Dask
scheduler's HTTP server) are the transports.
"""
