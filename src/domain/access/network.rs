//! Networks of addresses (CIDR), and whose request it is behind proxies.

use std::net::IpAddr;
use std::str::FromStr;

/// Addresses that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u32,
}

impl FromStr for Network {
    type Err = String;

    /// Reads `10.0.0.0/8`, `fd00::/8`, or one address.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no address and no network such as 10.0.0.0/8");
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let all = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(all);
        if bits > all {
            Err(wrong())
        } else {
            Ok(Self { address, bits })
        }
    }
}

impl Network {
    pub fn holds(&self, address: IpAddr) -> bool {
        let same = |a: u128, b: u128, width: u32| self.bits == 0 || (a ^ b) >> (width - self.bits) == 0;
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => same(u32::from(a).into(), u32::from(b).into(), 32),
            (IpAddr::V6(a), IpAddr::V6(b)) => same(a.into(), b.into(), 128),
            _ => false,
        }
    }
}

/// The address of the caller: the peer's own, or the last one in `X-Forwarded-For` that is no
/// trusted proxy where the peer is one. What stands before it can be made up by the caller.
pub fn caller_address<'a>(peer: IpAddr, forwarded: impl DoubleEndedIterator<Item = &'a str>, trusted: &[Network]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|n| n.holds(address));
    let mut found = peer.to_canonical();
    for text in forwarded.rev().flat_map(|line| line.rsplit(',')) {
        if !is_trusted(found) {
            break;
        }
        match text.trim().parse::<IpAddr>() {
            Ok(address) => found = address.to_canonical(),
            Err(_) => break,
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_say_who_calls() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        let trusted = ["10.0.0.0/8", "fd00::/8"].map(|n| n.parse::<Network>().expect("a network"));
        let found = |peer, lines: &[&str]| caller_address(ip(peer), lines.iter().copied(), &trusted);
        assert_eq!(
            found("1.2.3.4", &["9.9.9.9"]),
            ip("1.2.3.4"),
            "a stranger's word counts nothing"
        );
        assert_eq!(found("10.0.0.1", &["6.6.6.6, 9.9.9.9"]), ip("9.9.9.9"));
        assert_eq!(found("10.0.0.1", &["6.6.6.6, 9.9.9.9, 10.2.0.1"]), ip("9.9.9.9"));
        assert_eq!(
            found("10.0.0.1", &["6.6.6.6", "9.9.9.9"]),
            ip("9.9.9.9"),
            "the last line is the last proxy's"
        );
        assert_eq!(found("10.0.0.1", &["junk"]), ip("10.0.0.1"));
        assert_eq!(found("::ffff:10.0.0.1", &["9.9.9.9"]), ip("9.9.9.9"));
        assert_eq!(found("fd00::1", &[]), ip("fd00::1"));
        for wrong in ["", "10.0.0.0/33", "x/8", "10.0.0.0/-1"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong:?}");
        }
        assert!("0.0.0.0/0".parse::<Network>().expect("all").holds(ip("200.1.1.1")));
    }
}
