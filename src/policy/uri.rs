//! URIs as policies see them: what every reader finds in them, or nothing.
//!
//! The URL standard of browsers (WHATWG) and RFC 3986 read some texts as different URLs, and programs follow either or
//! neither. What is read here is read alike by both: printable ASCII before the path, one `//` and one host, no
//! backslash. Anything else has no value, and a call is refused where a policy that applies reads it.

use cedar_policy::RestrictedExpression as Expr;
use unicode_normalization::UnicodeNormalization as _;
use url::Url;

use super::host::{Host, read_port};

/// Longest URI, in bytes.
const MAX_BYTES: usize = 8_192;
/// The schemes of which hosts are names of the internet.
const WEB: [&str; 5] = ["http", "https", "ws", "wss", "ftp"];
/// The schemes without `//` in which a user stands before an `@`.
const OF_USERS: [&str; 7] = ["mailto", "sip", "sips", "xmpp", "im", "pres", "acct"];

/// A URI, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Uri {
    pub(super) scheme: String,
    pub(super) host: Option<Host>,
    pub(super) port: Option<u16>,
    /// With dot segments removed (RFC 3986 §5.2.4) and nothing encoded that need not be.
    pub(super) path: String,
    pub(super) has_userinfo: bool,
    /// Without userinfo and fragment.
    pub(super) normal: String,
}

impl Uri {
    /// Reads `raw`; `None` where it could be taken for another.
    pub(super) fn read(raw: &str) -> Option<Self> {
        let (head, rest) = raw.split_once(':').filter(|_| raw.len() <= MAX_BYTES)?;
        let scheme = head.to_ascii_lowercase();
        let after = rest.strip_prefix("//");
        let end = after.and_then(|after| after.find(['/', '?', '#']));
        let authority = after.map(|after| end.map_or(after, |end| after.get(..end).unwrap_or_default()));
        let tail = match (after, end) {
            (None, _) => rest,
            (Some(after), Some(end)) => after.get(end..)?,
            (Some(_), None) => "",
        };
        let plain = |c: char| {
            c.is_ascii_graphic() && !matches!(c, '\\' | '"' | '<' | '>' | '^' | '`' | '{' | '|' | '}')
        };
        // Beyond ASCII only what stays as it is under every normalization.
        let letter = |c: char| !c.is_ascii() && c.is_alphabetic() && std::iter::once(c).nfkc().eq([c]);
        if !head.chars().chain(authority.unwrap_or_default().chars()).all(plain)
            || !tail.chars().all(|c| plain(c) || letter(c))
        {
            return None;
        }
        let url = Url::parse(raw).ok().filter(|url| url.scheme() == scheme)?;
        // Some take a scheme with a dot for a host, whatever follows.
        let guessed = scheme.contains('.') || after.is_none() && is_address(&scheme, rest);
        if guessed || scheme == "file" && !is_plain_file(tail) {
            return None;
        }
        let web = WEB.contains(&scheme.as_str());
        let (userinfo, host, port) = match authority {
            // `http:host`, `http:/host` and `http:///host` name a host for some.
            None | Some("") if web => return None,
            None if scheme == "file" => return None,
            None | Some("") => (false, None, None),
            Some(authority) => read_authority(authority)?,
        };
        let port = port.or_else(|| web.then(|| url.port_or_known_default()).flatten());
        // Both readings must agree; and on a drive's letter they don't.
        if web && !agrees(&url, host.as_ref()?) || scheme == "file" && url.path().contains(':') {
            return None;
        }
        let path = read_path(url.path())?;
        let query = url.query().map_or_else(String::new, |query| format!("?{query}"));
        let normal = match &host {
            Some(host) => {
                let name =
                    if host.name.contains(':') { format!("[{}]", host.name) } else { host.name.clone() };
                let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
                format!("{scheme}://{name}{port}{path}{query}")
            }
            None if authority.is_some() => format!("{scheme}://{path}{query}"),
            None => format!("{scheme}:{path}{query}"),
        };
        Some(Self { scheme, host, port, path, has_userinfo: userinfo, normal })
    }
}

impl Uri {
    /// The host, empty where there is none.
    pub(super) fn host_name(self) -> String {
        self.host.map(|host| host.name).unwrap_or_default()
    }
}

/// The Cedar record of an argument that is a URI.
pub(super) fn record(raw: &str) -> Option<Expr> {
    let uri = Uri::read(raw)?;
    let mut pairs = vec![("raw".to_owned(), Expr::new_string(raw.to_owned()))];
    if let Some(host) = &uri.host {
        pairs.extend(host.ip_attribute()?);
    }
    let host = uri.host.as_ref().map(|host| host.name.clone()).unwrap_or_default();
    pairs.extend(uri.port.map(|port| ("port".to_owned(), Expr::new_long(i64::from(port)))));
    pairs.push(("has_userinfo".to_owned(), Expr::new_bool(uri.has_userinfo)));
    for (name, text) in [("scheme", uri.scheme), ("host", host), ("path", uri.path), ("normal", uri.normal)] {
        pairs.push((name.to_owned(), Expr::new_string(text)));
    }
    Expr::new_record(pairs).ok()
}

/// Whether a reader that puts a scheme before what has no `//`, or guesses one, finds a host or a user before the first
/// colon of `scheme:rest`.
fn is_address(scheme: &str, rest: &str) -> bool {
    let first = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let port = first.bytes().all(|byte| byte.is_ascii_digit());
    port || first.contains('@') && !OF_USERS.contains(&scheme)
}

/// Whether the path of a `file` URI leads to the same file decoded and not: empty steps, drives and encoded slashes part
/// readers.
fn is_plain_file(tail: &str) -> bool {
    let path = tail.split(['?', '#']).next().unwrap_or_default();
    let decoded = decode(&decode(path, |_| true), |_| true);
    let slashes = |text: &str| text.bytes().filter(|byte| *byte == b'/').count();
    slashes(&decoded) == slashes(path) && !path.contains("//") && !decoded.contains([':', '|', '\\'])
}

type Authority = (bool, Option<Host>, Option<u16>);

/// Userinfo or not, the host and the port. A second `@` or a `:` too many parts readers.
fn read_authority(authority: &str) -> Option<Authority> {
    let (userinfo, rest) = authority.rsplit_once('@').map_or((None, authority), |(u, rest)| (Some(u), rest));
    if userinfo.is_some_and(|userinfo| userinfo.contains(['@', '[', ']', '%'])) {
        return None;
    }
    let (host, port) = match rest.rsplit_once(':').filter(|_| !rest.ends_with(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, Some(read_port(port)?)),
        None => (rest, None),
    };
    Some((userinfo.is_some(), Some(Host::read(host)?), port))
}

fn bare(host: &str) -> &str {
    host.strip_suffix('.').unwrap_or(host)
}

/// Whether the URL standard finds the same host.
fn agrees(url: &Url, host: &Host) -> bool {
    match url.host() {
        Some(url::Host::Domain(domain)) => host.ip.is_none() && bare(domain) == host.name,
        Some(url::Host::Ipv4(ip)) => host.ip == Some(ip.into()),
        Some(url::Host::Ipv6(ip)) => {
            host.ip == Some(ip.to_ipv4_mapped().map_or_else(|| ip.into(), Into::into))
        }
        None => false,
    }
}

/// A path whose encoding hides nothing: unreserved characters are decoded (RFC 3986 §6.2.2.2), and `None` where a
/// reader that decodes it once more, or takes `\` for `/` or `;` for the end of a segment, finds other steps.
fn read_path(path: &str) -> Option<String> {
    let once = decode(path, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~'));
    let twice = decode(&decode(&once, |_| true), |_| true);
    if twice.contains('\0') {
        return None;
    }
    let dots = |segment: &str| matches!(segment.split(';').next(), Some("." | ".."));
    if twice.split(['/', '\\']).any(dots) {
        return None;
    }
    Some(once)
}

/// Decodes the bytes that `which` says; others keep their encoding, in upper case, and what is no encoding stays.
fn decode(text: &str, which: impl Fn(u8) -> bool) -> String {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let value = match rest {
            [b'%', high, low, ..] => digit(*high).zip(digit(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        rest = match value {
            None => {
                out.push(*first);
                after
            }
            Some(value) => {
                match which(value) {
                    true => out.push(value),
                    false => out.extend(format!("%{value:02X}").bytes()),
                }
                rest.get(3..).unwrap_or_default()
            }
        };
    }
    String::from_utf8_lossy(&out).into_owned()
}
