//! Whose requests are counted together.

use std::fmt;
use std::net::IpAddr;

/// Who sends a request, where that is known better than by the address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientId(pub String);

/// A client, as limits tell them apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Client {
    /// By its key or token.
    Known(ClientId),
    /// By its address. An IPv6 client has a whole network of 64 bits.
    Address(IpAddr),
    /// Nothing is known: there is no connection, or too many clients to tell them apart.
    Anybody,
}

impl Client {
    /// Whoever is at an address.
    pub fn at(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(ip) => Self::Address(IpAddr::V6((ip.to_bits() >> 64 << 64).into())),
            ip => Self::Address(ip),
        }
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(ClientId(id)) => f.write_str(id),
            Self::Address(address) => address.fmt(f),
            Self::Anybody => f.write_str("anybody"),
        }
    }
}
