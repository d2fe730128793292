"""A web server that starts in milliseconds, so that what is measured is the cluster.

`python3 -I -S service.py ADDRESS PORT`, standard library only: answers each request with the host's
name. With port 0 it prints its port and serves on.
"""

import socket
import sys


def serve(address: str, port: int) -> None:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen(256)
    body = socket.gethostname().encode() + b"\n"
    answer = b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    if port == 0:
        print(listener.getsockname()[1], flush=True)
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(0.5)
            try:
                connection.recv(4096)
                connection.sendall(answer)
            except OSError:
                continue


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
