//! `listen.tls`: an address, or an address and the certificate that is shown there.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

use super::forms::{self, Forms};
use super::located::At;
use super::resolve::Resolver;
use crate::identity::CertificateFiles;

/// HTTP on TLS: an address and port, or a mapping.
#[derive(Debug, Default)]
pub(super) struct Tls(pub(super) TlsMapping);

/// HTTP on TLS.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TlsMapping {
    /// Address and port, such as `0.0.0.0:8443`; port 0 takes any free one.
    pub(super) address: Option<At<String>>,
    /// A certificate chain as PEM that clients trust as they trust the web's, for `admission.oidc`. With it no certificate
    /// is asked of clients. Without it the gateway shows its own SVID, and `admission.mtls` says whose it takes.
    pub(super) certificate: Option<At<String>>,
    /// The certificate's private key as PEM, mode 0600. Both files are read again when they change.
    pub(super) key: Option<At<String>>,
}

impl<'de> Forms<'de> for Tls {
    type Word = String;
    type Mapping = TlsMapping;
    const EXPECTED: &'static str = "an address and port, or a mapping";

    fn word(address: At<String>) -> Self {
        Self(TlsMapping { address: Some(address), ..TlsMapping::default() })
    }

    fn mapping(mapping: TlsMapping) -> Option<Self> {
        Some(Self(mapping))
    }
}

impl<'de> Deserialize<'de> for Tls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        forms::read(deserializer)
    }
}

impl JsonSchema for Tls {
    fn schema_name() -> Cow<'static, str> {
        "Tls".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (address, mapping) =
            (generator.subschema_for::<String>(), generator.subschema_for::<TlsMapping>());
        json_schema!({ "anyOf": [address, mapping] })
    }
}

impl Resolver<'_> {
    /// The files of the TLS listener's certificate, if one is configured.
    pub(super) fn certificate(
        &mut self,
        tls: &At<Tls>,
        allowed_hosts: &[At<String>],
    ) -> Option<CertificateFiles> {
        let TlsMapping { address, certificate, key } = &tls.value.0;
        if address.is_none() {
            let help = "write, for example, `address: \"0.0.0.0:8443\"`";
            self.mistakes.add(&tls.span, "`listen.tls` has no `address`", help);
        }
        let (certificate, key) = match (certificate, key) {
            (Some(certificate), Some(key)) => (certificate, key),
            (None, None) => return None,
            (Some(one), None) | (None, Some(one)) => {
                let help = "name both files, or neither: then the gateway shows its own SVID";
                self.mistakes.add(&one.span, "`certificate` and `key` belong together", help);
                return None;
            }
        };
        let everywhere = address.as_ref().and_then(|address| address.value.parse().ok());
        if everywhere.is_some_and(|address: std::net::SocketAddr| address.ip().is_unspecified())
            && allowed_hosts.is_empty()
        {
            let help = "name what clients call the gateway by, as the certificate does: `allowed_hosts: \
                        [mcp.example.org]` below `listen`";
            self.mistakes.add(&tls.span, "clients could call this listener by no name", help);
        }
        Some(CertificateFiles { certificate: self.path(certificate), key: self.path(key) })
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use crate::config::{Config, ConfigError, Environment, Purpose};

    const OIDC: &str = "oidc: [{ issuer: \"https://a.org\", audience: chancery }]";

    fn parse(listen: &str, admission: &str) -> Result<Config, ConfigError> {
        let text = format!(
            "listen: {{ {listen} }}\nservers: {{ demo: {{ command: demo }} }}\nadmission: {{ {admission} }}\nstate_dir: \
             /state\n"
        );
        Config::parse("x.yaml", &text, Path::new("/etc"), Purpose::Serve, &Environment::process())
    }

    #[test]
    fn a_certificate_serves_bearer_tokens_on_any_address() {
        let tls = "allowed_hosts: [mcp.example.org], tls: { address: \"0.0.0.0:8443\", certificate: chain.pem, key: /k }";
        let config = parse(tls, OIDC).unwrap();
        assert_eq!(config.listen.tls, Some("0.0.0.0:8443".parse().unwrap()));
        let files = config.listen.certificate.unwrap();
        assert_eq!((files.certificate, files.key), (PathBuf::from("/etc/chain.pem"), PathBuf::from("/k")));
    }

    #[test]
    fn a_certificate_that_serves_nobody_or_half_is_told() {
        let web = |more: &str| format!("tls: {{ address: \"127.0.0.1:0\", {more} }}");
        let whole = web("certificate: c, key: k");
        let mtls = "mtls: { trust_domains: [a.org] }";
        for (listen, admission, told) in [
            (web("certificate: c"), OIDC.to_owned(), "belong together"),
            (web("key: k"), OIDC.to_owned(), "belong together"),
            (whole.clone(), "bootstrap: { file: x }, anonymous: true".to_owned(), "no evidence configured"),
            (whole.clone(), "peer: {}".to_owned(), "no evidence configured"),
            (whole.clone(), format!("{OIDC}, {mtls}"), "shows its own SVID"),
            ("tls: { certificate: c, key: k }".to_owned(), OIDC.to_owned(), "no `address`"),
            (whole.replace("127.0.0.1", "[::]"), OIDC.to_owned(), "by no name"),
            (web("certificate: c, keys: k"), OIDC.to_owned(), "unknown key `keys`"),
            ("tls: [a]".to_owned(), OIDC.to_owned(), "address and port, or a mapping"),
            ("tls: \"0.0.0.0:8443\"".to_owned(), OIDC.to_owned(), "no evidence configured"),
        ] {
            let found = match parse(&listen, &admission).unwrap_err() {
                ConfigError::One(one) => one.to_string(),
                ConfigError::Many(many) => many.iter().map(ToString::to_string).collect(),
                other => panic!("{other}"),
            };
            assert!(found.contains(told), "{listen} {admission}: {found}");
        }
    }
}
