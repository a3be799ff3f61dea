"""A folder behind a URL: served over HTTP on loopback, or in fsspec's memory."""

import threading
import time
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import fsspec


class Site:
    """What a test sees of a server: its URL, what was asked for, and what goes wrong there.

    `troubles` are functions by file name that are called before the file is sent, with how often
    it was asked for; one that returns bytes has them sent instead, one that raises a failure.
    """

    def __init__(self, folder):
        self.folder, self.url, self.delay_s = folder, "", 0.0
        self.asked, self.troubles = [], {}


class _Handler(SimpleHTTPRequestHandler):
    def __init__(self, *args, site, **kwargs):
        self.site = site
        super().__init__(*args, directory=str(site.folder), **kwargs)

    def do_GET(self):
        name = self.path.lstrip("/")
        self.site.asked.append(name)
        time.sleep(self.site.delay_s)
        trouble = self.site.troubles.get(name)
        try:
            data = trouble(self.site.asked.count(name)) if trouble else None
        except OSError:
            self.send_error(500)
            return
        if data is None:
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


@contextmanager
def over_http(folder):
    """Serve a folder on loopback."""
    site = Site(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, site=site))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    site.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def in_memory(folder, name):
    """Copy a folder into fsspec's memory and return its URL."""
    files = fsspec.filesystem("memory")
    for path in folder.rglob("*"):
        if path.is_file():
            files.pipe_file(f"/{name}/{path.relative_to(folder).as_posix()}", path.read_bytes())
    return f"memory://{name}"
