//! Hosts as policies see them: one spelling for each, or none.
//!
//! Readers of URLs differ where a host is not written plainly (octal and other numbers, percent-encoding, names beyond
//! ASCII); such a host has no value here. What all read alike gets one spelling: lower case, no dot at the end, the
//! short form of an IPv6 address (RFC 5952), the IPv4 address for one that is mapped.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use cedar_policy::RestrictedExpression as Expr;

/// A host, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Host {
    /// The name or address.
    pub(super) name: String,
    /// The address, where it is one.
    pub(super) ip: Option<IpAddr>,
}

impl Host {
    /// Reads a host as it stands in a URL: an IPv6 address is in brackets.
    pub(super) fn read(text: &str) -> Option<Self> {
        if let Some(address) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            return Self::v6(address);
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Some(Self::address(IpAddr::V4(address)));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let plain = |label: &str| {
            let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
            (1..=63).contains(&label.len()) && label.bytes().all(inner)
        };
        if name.len() > 253 || !name.split('.').all(plain) {
            return None;
        }
        // A last label that is a number makes readers try to find an IPv4 address in it (WHATWG URL §3.5).
        let last = name.rsplit('.').next().unwrap_or_default();
        let hexadecimal = last.strip_prefix("0x").is_some_and(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
        if last.bytes().all(|b| b.is_ascii_digit()) || hexadecimal {
            return None;
        }
        // What claims to be punycode must be it.
        let same = matches!(url::Host::parse(&name), Ok(url::Host::Domain(domain)) if domain == name);
        same.then_some(Self { name, ip: None })
    }

    /// Reads `host`, `host:port`, or an IPv6 address with or without brackets.
    pub(super) fn with_port(text: &str) -> Option<(Self, Option<u16>)> {
        if let Ok(address) = text.parse::<Ipv6Addr>() {
            return Some((Self::v6(&address.to_string())?, None));
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !text.ends_with(']') => (host, Some(read_port(port)?)),
            _ => (text, None),
        };
        Some((Self::read(host)?, port))
    }

    fn v6(text: &str) -> Option<Self> {
        let address: Ipv6Addr = text.parse().ok()?;
        Some(Self::address(match address.to_ipv4_mapped() {
            Some(mapped) => IpAddr::V4(mapped),
            None => IpAddr::V6(address),
        }))
    }

    fn address(ip: IpAddr) -> Self {
        Self { name: ip.to_string(), ip: Some(ip) }
    }

    /// The attribute with the address, where there is one; `None` where Cedar can't hold it.
    pub(super) fn ip_attribute(&self) -> Option<Option<(String, Expr)>> {
        match self.ip {
            None => Some(None),
            // Cedar reads no IPv6 address with an IPv4 one in it.
            Some(_) if self.name.contains(':') && self.name.contains('.') => None,
            Some(_) => Some(Some(("ip".to_owned(), Expr::new_ip(self.name.clone())))),
        }
    }
}

/// The Cedar record of an argument that is a host.
pub(super) fn record(raw: &str) -> Option<Expr> {
    let (host, port) = Host::with_port(raw)?;
    let mut pairs = vec![("raw".to_owned(), Expr::new_string(raw.to_owned()))];
    pairs.extend(host.ip_attribute()?);
    pairs.extend(port.map(|port| ("port".to_owned(), Expr::new_long(i64::from(port)))));
    pairs.push(("normal".to_owned(), Expr::new_string(host.name)));
    Expr::new_record(pairs).ok()
}

/// A port of digits alone.
pub(super) fn read_port(text: &str) -> Option<u16> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}
