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
}

impl Refused {
    pub fn why(self) -> &'static str {
        match self {
            Self::Loopback => {
                "is this machine, which only `localhost` or the address itself may name"
            }
            Self::LinkLocal => "is link-local",
            Self::NotUnicast => "is not the address of one machine",
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
}
