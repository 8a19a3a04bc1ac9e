//! Evidence that hangs together with a listener or with the identity: mutual TLS, and none at all.

use super::located::At;
use super::raw;
use super::resolve::Resolver;
use crate::admission::MtlsConfig;
use crate::admission::mtls::SpiffeIdPattern;
use crate::domain::ids::SpiffeId;
use crate::identity;

impl Resolver<'_> {
    /// Every TLS listener has its evidence, and no evidence is configured that no listener asks for.
    pub(super) fn evidence_of_listeners(&mut self, listen: &raw::Listen, admission: &raw::Admission) {
        let web = listen.tls.as_ref().filter(|tls| tls.value.0.certificate.is_some());
        match (&listen.tls, &admission.mtls) {
            (Some(tls), None) if web.is_some() && admission.oidc.is_empty() => {
                let help = "a secret of this machine is none for a network; say whose tokens count:\nadmission:\n  oidc:\n    \
                            - issuer: https://login.example.org\n      audience: chancery";
                self.mistakes.add(&tls.span, "this listener has no evidence configured", help);
            }
            (Some(_), None) if web.is_some() => {}
            (Some(tls), Some(_)) if web.is_some() => {
                let help = "remove `certificate` and `key`, or `admission.mtls`; two gateways can have one policy directory";
                self.mistakes.add(
                    &tls.span,
                    "clients' SVIDs are taken where the gateway shows its own SVID, not where it shows a certificate",
                    help,
                );
            }
            (Some(tls), None) if !admission.oidc.is_empty() => {
                let help = "for bearer tokens show a certificate as on the web; write:\nlisten:\n  tls: { address: \
                            \"127.0.0.1:8443\", certificate: ./fullchain.pem, key: ./privkey.pem }";
                self.mistakes.add(&tls.span, "this listener has no evidence configured", help);
            }
            (Some(tls), None) => {
                let help = "say whose workloads to let in; write:\nadmission:\n  mtls:\n    trust_domains: [example.org]";
                self.mistakes.add(&tls.span, "this listener has no evidence configured", help);
            }
            (None, Some(mtls)) => {
                let help = "certificates are shown on TLS; write:\nlisten:\n  tls: \"127.0.0.1:8443\"";
                self.mistakes.add(&mtls.span, "`mtls` has no meaning without `listen.tls`", help);
            }
            _ => {}
        }
        if let Some(anonymous) = admission.anonymous.as_ref().filter(|anonymous| anonymous.value)
            && listen.tcp.is_none()
        {
            let help = "remove it: it lets in who shows nothing on a loopback TCP address, and nowhere else";
            self.mistakes.add(&anonymous.span, "`anonymous` has no meaning without `listen.tcp`", help);
        }
    }

    pub(super) fn mtls(&mut self, raw: &At<raw::Mtls>, identity: &identity::Config) -> MtlsConfig {
        let mtls = &raw.value;
        if !matches!(identity.kind, identity::Kind::Spire(_)) {
            let help = "the gateway shows its clients its own SVID, and asks SPIRE's agent whom to believe: write \
                        `identity: spire`";
            self.mistakes.add(&raw.span, "`mtls` needs an identity from SPIRE", help);
        }
        if mtls.trust_domains.is_empty() && mtls.spiffe_ids.is_empty() {
            let help =
                "write `trust_domains: [example.org]`, or `spiffe_ids: [spiffe://example.org/agents/*]`";
            self.mistakes.add(&raw.span, "`mtls` lets nobody in", help);
        }
        let trust_domains: Vec<_> =
            mtls.trust_domains.iter().filter_map(|domain| self.trust_domain(domain)).collect();
        let patterns = mtls.spiffe_ids.iter();
        let spiffe_ids = patterns.filter_map(|pattern| self.pattern(pattern, &mtls.trust_domains)).collect();
        MtlsConfig { trust_domains, spiffe_ids, without_groups: mtls.path_groups == Some(false) }
    }

    fn trust_domain(&mut self, raw: &At<String>) -> Option<String> {
        let id = format!("spiffe://{}", raw.value).parse::<SpiffeId>().ok();
        // A name with a path in it would be another trust domain's.
        let name = id.filter(|id| id.trust_domain() == raw.value).map(|_| raw.value.clone());
        if name.is_none() {
            let help = "write its name as it stands after `spiffe://`, such as `example.org`";
            self.mistakes.add(&raw.span, format!("`{}` is not the name of a trust domain", raw.value), help);
        }
        name
    }

    fn pattern(&mut self, raw: &At<String>, domains: &[At<String>]) -> Option<SpiffeIdPattern> {
        let pattern = match raw.value.parse::<SpiffeIdPattern>() {
            Ok(pattern) => pattern,
            Err(error) => {
                let help = "write a SPIFFE ID, or `/*` in the place of its last segments: \
                            `spiffe://example.org/agents/*`";
                self.mistakes.add(&raw.span, error.to_string(), help);
                return None;
            }
        };
        if !domains.is_empty() && !domains.iter().any(|domain| domain.value == pattern.trust_domain()) {
            let help =
                "where both lists stand, both must fit: add its trust domain, or remove `trust_domains`";
            self.mistakes.add(
                &raw.span,
                format!("`{}` is not in `trust_domains`", pattern.trust_domain()),
                help,
            );
        }
        Some(pattern)
    }
}
