"""Which addresses lead out: on the internet, and not into the network of whoever runs the job."""

import errno
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

IPV4_IN_IPV6 = ip_network("::ffff:0:0/96"), ip_network("64:ff9b::/96")  # mapped; by NAT64
OF_CLOUDS = ip_network("168.63.129.16/32"), ip_network("192.0.0.0/24")  # where Azure and Oracle tell machines secrets


class LeadsInside(OSError):
    """An address that is not to be connected to."""

    def __init__(self) -> None:
        super().__init__(errno.EACCES, "its name leads into a private network")


def leads_outside(address: str) -> bool:
    """Tell whether an address is one of the internet: not of this machine, nor of a private or link-local network, nor
    for several receivers, nor an IPv6 address that stands for such an IPv4 address.

    By https://www.iana.org/assignments/iana-ipv4-special-registry and -ipv6-special-registry, as Python knows them.
    """
    ip: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address):
        if any(ip in network for network in IPV4_IN_IPV6):
            ip = IPv4Address(int(ip) & 0xFFFFFFFF)
        elif ip.is_site_local or ip.is_reserved:
            return False
        elif ip.sixtofour is not None:
            return leads_outside(str(ip.sixtofour))
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in OF_CLOUDS)


def outside_socket(address: Any) -> socket.socket:
    """Make the socket for a connection, as aiohttp's connector asks for one with each address that it is about to try.

    What is looked at is what will be connected to, however it was come by: a name's address could be another one when
    it is asked for again.

    Args:
        address: an entry of socket.getaddrinfo.

    Raises:
        LeadsInside: the address is not of the internet.
    """
    family, kind, protocol, _, place = address
    if not leads_outside(str(place[0])):
        raise LeadsInside
    return socket.socket(family=family, type=kind, proto=protocol)
