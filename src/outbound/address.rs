//! How far an address reaches.
//!
//! Sources: the IANA special-purpose address registries for IPv4 and IPv6, and the metadata addresses that the cloud
//! providers document.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// How far an address reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Anybody on the internet can connect to it.
    Public,
    /// It belongs to the inside of some network; allowed where the administrator names it.
    Inside(Inside),
    /// Nothing is fetched from it, whatever is configured. The word says why.
    Never(&'static str),
}

/// A kind of address on the inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inside {
    /// The operator's own host.
    Loopback,
    /// A private network: RFC 1918, RFC 6598 (carrier-grade NAT), unique local, site local, benchmarking.
    Private,
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Public => "public",
            Self::Inside(Inside::Loopback) => "loopback",
            Self::Inside(Inside::Private) => "private",
            Self::Never(why) => why,
        })
    }
}

const METADATA: Reach = Reach::Never("cloud metadata");
const RESERVED: Reach = Reach::Never("reserved");
const PRIVATE: Reach = Reach::Inside(Inside::Private);

/// How far an address reaches. Addresses that carry an IPv4 address are judged by it.
#[must_use]
pub fn reach(ip: IpAddr) -> Reach {
    match ip {
        IpAddr::V4(ip) => reach_v4(ip),
        IpAddr::V6(ip) => reach_v6(ip),
    }
}

fn reach_v4(ip: Ipv4Addr) -> Reach {
    match ip.octets() {
        // Linux connects 0.0.0.0 to the own host.
        [0, ..] => Reach::Never("unspecified"),
        // Alibaba Cloud; Azure's host; Oracle's image metadata: all outside 169.254/16.
        [100, 100, 100, 200] | [168, 63, 129, 16] | [192, 0, 0, 192] => METADATA,
        [169, 254, ..] => Reach::Never("link-local"),
        [127, ..] => Reach::Inside(Inside::Loopback),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] | [198, 18..=19, ..] => PRIVATE,
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Reach::Never("documentation"),
        [224..=239, ..] => Reach::Never("multicast"),
        [255, 255, 255, 255] => Reach::Never("broadcast"),
        [192, 0, 0, _] | [192, 88, 99, _] | [240..=255, ..] => RESERVED,
        _ => Reach::Public,
    }
}

fn reach_v6(ip: Ipv6Addr) -> Reach {
    let inner = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        reach_v4(Ipv4Addr::new(a, b, c, d))
    };
    match ip.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Reach::Never("unspecified"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Reach::Inside(Inside::Loopback),
        // IPv4-mapped, its translated form (RFC 2765), and NAT64 (RFC 6052), which IPv6-only clusters need.
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => inner(high, low),
        // AWS metadata, its pod identity agent and its clock; Google's metadata.
        [0xfd00, 0xec2, ..] | [0xfd20, 0xce, ..] => METADATA,
        // The retired tunnels can hide any IPv4 address: Teredo, 6to4.
        [0x2001, 0, ..] | [0x2002, ..] => Reach::Never("tunnelled"),
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0x0fff, ..] => Reach::Never("documentation"),
        [0x2001, 2, 0, ..] | [0xfc00..=0xfdff | 0xfec0..=0xfeff, ..] => PRIVATE,
        [0x2001, 1..=0x1ff, ..] => RESERVED,
        [0xfe80..=0xfebf, ..] => Reach::Never("link-local"),
        [0xff00..=0xffff, ..] => Reach::Never("multicast"),
        // ISATAP (RFC 5214) carries an IPv4 address behind any prefix.
        [0x2000..=0x3fff, _, _, _, flag, mark, high, low] => {
            if matches!((flag, mark), (0 | 0x200, 0x5efe)) {
                inner(high, low)
            } else {
                Reach::Public
            }
        }
        _ => RESERVED,
    }
}

/// A network in CIDR notation that the administrator opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// A text that is not a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a network; write ADDRESS/BITS with no bits set behind the prefix, such as 10.20.0.0/16")]
pub struct InvalidNetwork(String);

impl Network {
    /// Whether an address is in the network.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.address, ip.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(ip)) => {
                let mask = mask(u128::from(u32::MAX), 32 - u32::from(self.prefix));
                u128::from(own.to_bits()) == u128::from(ip.to_bits()) & mask
            }
            (IpAddr::V6(own), IpAddr::V6(ip)) => {
                own.to_bits() == ip.to_bits() & mask(u128::MAX, 128 - u32::from(self.prefix))
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// All ones but the lowest `free` bits.
fn mask(ones: u128, free: u32) -> u128 {
    ones.checked_shr(free).unwrap_or(0).checked_shl(free).unwrap_or(0)
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let invalid = || InvalidNetwork(text.chars().take(64).collect());
        let (address, prefix) = text.split_once('/').ok_or_else(invalid)?;
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        let prefix: u8 = prefix.parse().map_err(|_| invalid())?;
        let network = Self { address, prefix };
        let bits = if address.is_ipv4() { 32 } else { 128 };
        if prefix > bits || !network.contains(address) {
            return Err(invalid());
        }
        Ok(network)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_special_range_is_known() {
        let of = |text: &str| reach(text.parse().expect(text)).to_string();
        for (texts, expected) in [
            (
                "8.8.8.8 1.1.1.1 172.15.0.1 172.32.0.1 100.63.0.1 100.128.0.1 198.20.0.1 2606:4700::1 2a00::1",
                "public",
            ),
            ("::ffff:8.8.8.8 64:ff9b::8.8.8.8 2606::5efe:8.8.8.8", "public"),
            (
                "127.0.0.1 127.255.0.9 ::1 ::ffff:127.0.0.1 ::ffff:0:127.0.0.1 64:ff9b::7f00:1 2606::5efe:7f00:1",
                "loopback",
            ),
            (
                "10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 100.64.0.1 100.127.0.1 198.18.0.1",
                "private",
            ),
            (
                "fc00::1 fd12::1 fec0::1 2001:2::1 ::ffff:10.0.0.1 64:ff9b::10.0.0.1",
                "private",
            ),
            (
                "169.254.169.254 169.254.1.1 fe80::1 febf::1 ::ffff:169.254.169.254 64:ff9b::a9fe:a9fe",
                "link-local",
            ),
            (
                "100.100.100.200 168.63.129.16 192.0.0.192 fd00:ec2::254 fd00:ec2::23 fd20:ce::254",
                "cloud metadata",
            ),
            ("0.0.0.0 0.1.2.3 ::", "unspecified"),
            ("224.0.0.1 239.1.1.1 ff02::1 ff0e::1", "multicast"),
            ("255.255.255.255", "broadcast"),
            (
                "240.0.0.1 254.0.0.1 192.0.0.9 192.88.99.1 ::7f00:1 ::2 64:ff9b:1::1 100::1 2001:10::1 5f00::1 4000::1",
                "reserved",
            ),
            (
                "192.0.2.1 198.51.100.1 203.0.113.1 2001:db8::1 3fff::1",
                "documentation",
            ),
            ("2001::1 2001:0:7f00:1:: 2002:7f00:1::1 2002:808:808::1", "tunnelled"),
        ] {
            for text in texts.split(' ') {
                assert_eq!(of(text), expected, "{text}");
            }
        }
    }

    #[test]
    fn networks_hold_their_addresses() {
        let network = |text: &str| text.parse::<Network>();
        let holds = |net: &str, ip: &str| network(net).expect(net).contains(ip.parse().expect(ip));
        assert!(holds("10.20.0.0/16", "10.20.255.1") && !holds("10.20.0.0/16", "10.21.0.0"));
        assert!(holds("10.20.0.0/16", "::ffff:10.20.0.1"));
        assert!(holds("0.0.0.0/0", "1.2.3.4") && !holds("0.0.0.0/0", "::1"));
        assert!(holds("::/0", "2a00::1") && holds("fd00:1::/32", "fd00:1:2::3") && !holds("fd00:1::/32", "fd00:2::"));
        assert!(holds("10.0.0.7/32", "10.0.0.7") && !holds("10.0.0.7/32", "10.0.0.6"));
        for bad in [
            "10.0.0.1",
            "10.0.0.1/8",
            "10.0.0.0/33",
            "x/8",
            "10.0.0.0/-1",
            "::1/64",
            "",
        ] {
            assert!(network(bad).is_err(), "{bad}");
        }
    }
}
