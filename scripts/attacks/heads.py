"""Lists in queries, and heads that name several hosts."""

from _place import Server, row

HEADS = {
    "two hosts": "GET /v1/jobs HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\n\r\n",
    "no host": "GET /v1/jobs HTTP/1.1\r\n\r\n",
    "a host behind an address": "GET /v1/jobs HTTP/1.1\r\nhost: [::1]evil.example\r\n\r\n",
    "another host in the line": "GET http://evil.example/v1/jobs HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "a head of 1 MB": "GET /v1/jobs HTTP/1.1\r\nhost: localhost\r\nx-a: " + "a" * 1_000_000 + "\r\n\r\n",
}


def status(server, head):
    try:
        connection = server.connect(head.encode())
        connection.settimeout(20)
        return int(connection.recv(12)[9:12] or 0)
    except (OSError, ValueError):
        return 0


def attack(vgpo):
    with Server(vgpo) as server:
        types = ",".join(f"t{n}" for n in range(2000))
        listed = server.ask("GET", f"/v1/events?types={types}")[0]
        rows = [row("2,000 types in a query", "refused", str(listed), 400 <= listed < 500)]
        for name, head in HEADS.items():
            found = status(server, head)
            rows.append(row(f"a request with {name}", "refused", str(found), found == 0 or 400 <= found < 500))
        alive = server.ask("GET", "/healthz")[0]
        rows.append(row("then `/healthz`", "200", str(alive), alive == 200))
    return rows
