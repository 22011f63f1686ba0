//! Which network addresses a granted name may lead to. Shared by the capabilities that open connections.
//!
//! Pure: names and addresses in, a verdict out. The client resolves a name once, asks here about every
//! address, and connects to one that was asked about.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why an address is not reached, as the end of a sentence that begins with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// A name of another machine leads to this one.
    Loopback,
    /// `169.254.0.0/16` and `fe80::/10`: where clouds keep the credentials of a machine.
    LinkLocal,
    /// Not the address of one machine.
    NotUnicast,
    /// A network that is not reached from outside, where the job did not say `private`.
    Private,
}

impl Refused {
    pub fn why(self) -> &'static str {
        match self {
            Self::Loopback => {
                "is this machine, which only `localhost` or the address itself may name"
            }
            Self::LinkLocal => "is link-local",
            Self::NotUnicast => "is not the address of one machine",
            Self::Private => "is private, which the job does not grant",
        }
    }
}

/// Whether `host`, as the job names it, may lead to `address`. A private address is what the name of a database
/// usually leads to, and is allowed.
pub fn check(host: &str, address: IpAddr) -> Result<(), Refused> {
    let address = address.to_canonical();
    let (is_unicast, is_link_local) = match address {
        IpAddr::V4(v4) => (is_unicast_v4(v4), v4.is_link_local()),
        IpAddr::V6(v6) => (is_unicast_v6(v6), v6.is_unicast_link_local()),
    };
    if !is_unicast {
        return Err(Refused::NotUnicast);
    }
    if is_link_local {
        return Err(Refused::LinkLocal);
    }
    if address.is_loopback() && !names_this_machine(host) {
        return Err(Refused::Loopback);
    }
    Ok(())
}

/// [`check`] for a name that is taken for one of the internet: a private address too must be granted.
pub fn check_public(host: &str, address: IpAddr, may_be_private: bool) -> Result<(), Refused> {
    let address = unwrapped(address);
    check(host, address)?;
    let is_private = match address {
        IpAddr::V4(v4) => is_private_v4(v4),
        // fc00::/7, and fec0::/10, which came before it.
        IpAddr::V6(v6) => v6.is_unique_local() || v6.segments()[0] & 0xffc0 == 0xfec0,
    };
    if is_private && !may_be_private {
        return Err(Refused::Private);
    }
    Ok(())
}

/// The IPv4 address that an IPv6 address stands for: mapped, compatible, NAT64 or 6to4.
fn unwrapped(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address.to_canonical() else {
        return address.to_canonical();
    };
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match [a, b, c, d, e, f] {
        [0x64, 0xff9b, 0, 0, 0, 0] => v4(g, h),
        // `::` and `::1` are addresses of their own.
        [0, 0, 0, 0, 0, 0] if g != 0 => v4(g, h),
        [0x2002, ..] => v4(b, c),
        _ => IpAddr::V6(v6),
    }
}

fn is_private_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    address.is_private()
        || (a == 100 && (64..128).contains(&b)) // 100.64.0.0/10, of carriers
        || (a == 198 && (b == 18 || b == 19)) // 198.18.0.0/15, of benchmarks
        || (a, b, c) == (192, 0, 0)
}

fn is_unicast_v4(address: Ipv4Addr) -> bool {
    // 0.0.0.0/8 is "this network": Linux takes 0.0.0.0 for the loopback.
    !(address.octets()[0] == 0 || address.is_multicast() || address.octets()[0] >= 240)
}

fn is_unicast_v6(address: Ipv6Addr) -> bool {
    !(address.is_unspecified() || address.is_multicast())
}

fn names_this_machine(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    let is_loopback = |address: IpAddr| address.to_canonical().is_loopback();
    host == "localhost" || host.ends_with(".localhost") || literal.parse().is_ok_and(is_loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_to_public_and_private_machines_and_to_nothing_else() {
        let check = |host: &str, address: &str, expected: Result<(), Refused>| {
            assert_eq!(
                check(host, address.parse().unwrap()),
                expected,
                "{host} {address}"
            );
        };
        check("db.example", "93.184.216.34", Ok(()));
        check("db.internal", "10.1.2.3", Ok(()));
        check("db.internal", "fd00::5", Ok(()));
        check("db.example", "127.0.0.1", Err(Refused::Loopback));
        check("db.example", "127.8.8.8", Err(Refused::Loopback));
        check("db.example", "::1", Err(Refused::Loopback));
        check("db.example", "::ffff:127.0.0.1", Err(Refused::Loopback));
        check("localhost", "127.0.0.1", Ok(()));
        check("LOCALHOST.", "::1", Ok(()));
        check("127.0.0.1", "127.0.0.1", Ok(()));
        check("[::1]", "::1", Ok(()));
        check(
            "metadata.example",
            "169.254.169.254",
            Err(Refused::LinkLocal),
        );
        check(
            "169.254.169.254",
            "169.254.169.254",
            Err(Refused::LinkLocal),
        );
        check(
            "db.example",
            "::ffff:169.254.169.254",
            Err(Refused::LinkLocal),
        );
        check("db.example", "fe80::1", Err(Refused::LinkLocal));
        check("localhost", "0.0.0.0", Err(Refused::NotUnicast));
        check("db.example", "0.1.2.3", Err(Refused::NotUnicast));
        check("db.example", "224.0.0.1", Err(Refused::NotUnicast));
        check("db.example", "255.255.255.255", Err(Refused::NotUnicast));
        check("db.example", "::", Err(Refused::NotUnicast));
        check("db.example", "ff02::1", Err(Refused::NotUnicast));
    }

    #[test]
    fn a_private_address_must_be_granted_however_it_is_written() {
        let check = |host: &str, address: &str, private: bool, expected: Result<(), Refused>| {
            let address = address.parse().unwrap();
            let verdict = check_public(host, address, private);
            assert_eq!(verdict, expected, "{host} {address} {private}");
        };
        for address in [
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "198.18.0.1",
            "198.19.255.255",
            "192.0.0.8",
            "fc00::1",
            "fd12::1",
            "fec0::1",
            "::ffff:10.0.0.1",
            "::10.0.0.1",
            "64:ff9b::10.0.0.1",
            "2002:a00:1::1",
        ] {
            check("api.example", address, false, Err(Refused::Private));
            check("api.example", address, true, Ok(()));
        }
        for address in [
            "93.184.216.34",
            "2606:4700::1111",
            "172.32.0.1",
            "100.128.0.1",
        ] {
            check("api.example", address, false, Ok(()));
        }
        for private in [false, true] {
            for address in ["127.0.0.1", "::1", "64:ff9b::7f00:1", "2002:7f00:1::"] {
                check("api.example", address, private, Err(Refused::Loopback));
                check("localhost", address, private, Ok(()));
            }
            for address in [
                "169.254.169.254",
                "64:ff9b::a9fe:a9fe",
                "2002:a9fe:a9fe::",
                "fe80::1",
            ] {
                check("api.example", address, private, Err(Refused::LinkLocal));
                check("localhost", address, private, Err(Refused::LinkLocal));
            }
        }
    }
}
