"""Every way out that a socket has. `targets.json` names services of the host that would answer."""

from tests.attacks.attack import Attack

ATTACKS = (
    Attack(
        "network-ipv4",
        """
        places = json.load(open("targets.json"))["tcp4"]
        places += [["1.1.1.1", 53], ["172.17.0.1", 22], ["169.254.169.254", 80], ["10.0.0.1", 80]]
        for address, port in places:
            attempt("tcp", lambda: socket.create_connection((address, port), 1))
            def datagram():
                s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                return s.sendto(b"x", (address, port))
            if address != "127.0.0.1":
                attempt("udp", datagram)
        def broadcast():
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            return s.sendto(b"x", ("255.255.255.255", 9))
        attempt("broadcast", broadcast)
        """,
        refused=("tcp", "udp", "broadcast"),
    ),
    Attack(
        "network-ipv6",
        """
        places = json.load(open("targets.json"))["tcp6"]
        for address, port in [*places, ["2606:4700:4700::1111", 53], ["fe80::1", 80]]:
            attempt("tcp6", lambda: socket.create_connection((address, port), 1))
        """,
        refused=("tcp6",),
    ),
    Attack(
        "network-dns",
        """
        attempt("name", lambda: socket.getaddrinfo("example.com", 80))
        def query(server):
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            s.settimeout(1)
            s.sendto(bytes.fromhex("1234010000010000000000000161016200000100 01"), (server, 53))
            return s.recv(512)
        for server in ("8.8.8.8", "127.0.0.11", "127.0.0.53"):
            attempt("query", lambda: query(server))
        """,
        refused=("name", "query"),
        limits={"wall_seconds": 40.0},
    ),
    Attack(
        "network-raw",
        """
        attempt("icmp", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
        attempt("raw6", lambda: socket.socket(socket.AF_INET6, socket.SOCK_RAW, 58))
        attempt("packet", lambda: socket.socket(17, socket.SOCK_RAW, 0x0300))
        def ping():
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 1)
            return s.sendto(bytes([8, 0, 0, 0, 0, 0, 0, 0]), ("1.1.1.1", 0))
        attempt("ping", ping)
        """,
        refused=("icmp", "raw6", "packet", "ping"),
    ),
    Attack(
        "network-netlink",
        """
        def change(kind, body):  # RTM_NEWLINK: up, or a veth; RTM_NEWADDR
            s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
            s.send(struct.pack("=LHHLL", 16 + len(body), kind, 5, 1, 0) + body)
            code = struct.unpack_from("=l", s.recv(4096), 16)[0]
            if code:
                raise OSError(-code, os.strerror(-code))
            return True
        attempt("link", lambda: change(16, struct.pack("=BxHiII", 0, 0, 1, 0, 0xFFFFFFFF)))
        address = struct.pack("=BBBBI", 2, 8, 0, 0, 1) + struct.pack("=HHBBBB", 8, 2, 10, 1, 1, 1)
        attempt("address", lambda: change(20, address))
        attempt("audit", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 9).bind((0, 1)))
        def interfaces():
            return [name for _, name in socket.if_nameindex()
                    if name not in ("lo", "tunl0", "sit0", "ip6tnl0", "gre0", "gretap0", "erspan0",
                                    "ip_vti0", "ip6_vti0", "ip6gre0", "teql0")]
        attempt("interfaces", interfaces)
        """,
        refused=("link", "address", "audit", "interfaces"),
    ),
    Attack(
        "network-abstract-unix",
        """
        def dial(path):
            s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            s.settimeout(1)
            s.connect(path)
            return True
        attempt("abstract", lambda: dial("\\0" + json.load(open("targets.json"))["abstract"]))
        for line in open("/proc/net/unix").read().splitlines()[1:]:
            name = line.split()[-1]
            if name.startswith("@"):
                attempt("listed", lambda: dial("\\0" + name[1:]))
        for path in ("/tmp/.X11-unix/X0", "/run/dbus/system_bus_socket", "/run/systemd/notify",
                     json.load(open("targets.json"))["unix"]):
            attempt("path", lambda: dial(path))
        """,
        refused=("abstract", "path"),
    ),
    Attack(
        "network-vsock",
        """
        attempt("vsock", lambda: socket.socket(40, socket.SOCK_STREAM))
        attempt("vsock-pair", lambda: socket.socketpair(40, socket.SOCK_STREAM))
        attempt("number", lambda: call(41 if os.uname().machine == "x86_64" else 198, 40, 1, 0))
        # the kernel looks at the low half only: a filter that compares all of it lets this pass
        attempt("high-half", lambda: call(
            41 if os.uname().machine == "x86_64" else 198, ctypes.c_long(40 | 1 << 32), 1, 0))
        """,
        refused=("vsock", "vsock-pair", "number", "high-half"),
    ),
    Attack(
        "network-every-other-family",
        """
        for family in range(3, 256):
            if family not in (10, 16):
                for kind in (1, 2, 3, 5):
                    attempt("family", lambda: (family, socket.socket(family, kind)))
        attempt("alg", lambda: socket.socket(38, 5))
        """,
        refused=("family", "alg"),
    ),
    Attack(
        "network-io-uring",
        """
        params = ctypes.create_string_buffer(256)
        attempt("setup", lambda: call(425, 8, params))
        attempt("enter", lambda: call(426, 0, 0, 0, 0, 0, 0))
        attempt("register", lambda: call(427, 0, 0, 0, 0))
        """,
        refused=("setup", "enter", "register"),
    ),
    Attack(
        "network-of-the-engine",
        """
        def dial(path):
            s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            s.connect(path)
            return True
        for path in ("/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock",
                     "/run/podman/podman.sock", "/run/crio/crio.sock"):
            attempt("known", lambda: dial(path))
        import stat
        for top, folders, files in os.walk("/"):
            folders[:] = [f for f in folders if top != "/" or f not in ("proc", "sys")]
            for name in files:
                path = os.path.join(top, name)
                try:
                    if stat.S_ISSOCK(os.lstat(path).st_mode):
                        attempt("found", lambda: dial(path))
                except OSError:
                    pass
        for port in (2375, 2376, 10250):
            attempt("port", lambda: socket.create_connection(("127.0.0.1", port), 1))
        """,
        refused=("known", "port"),
    ),
)
