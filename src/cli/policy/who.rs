//! Whom the first policies are for: as the author says, as a configuration admits, or else the author.

use crate::admission;
use crate::cli::Failure;
use crate::config::Config;
use crate::domain::principal::Principal;
use crate::policy::Who;

/// Whom policies are about, and somebody whom they are about, as a case file says it.
#[derive(Debug, Clone)]
pub(super) struct Someone {
    pub(super) who: Who,
    pub(super) example: String,
}

/// Whom `--principal` and `--group` name; else whom the configuration admits; else the user.
pub(super) fn someone(
    principals: &[String],
    groups: &[String],
    config: Option<&Config>,
) -> Result<Vec<Someone>, Failure> {
    let admission = config.map(|config| &config.admission);
    let mut found = Vec::new();
    for id in principals {
        if Principal::named(id).is_none() {
            let help = "write `peer:1000:-`, `bootstrap:1000`, `oidc:<issuer>#<subject>`, a SPIFFE ID, or `anonymous`";
            return Err(Failure::misuse(miette::miette!(help = help, "no admission gives the name `{id}`")));
        }
        found.push(Someone { who: Who::Agent(id.clone()), example: named(id) });
    }
    let mut wanted = groups.to_vec();
    let own = format!("uid:{}", rustix::process::getuid().as_raw());
    if let (true, true, Some(admission)) = (found.is_empty(), wanted.is_empty(), admission) {
        wanted = admitted(admission, &own);
    }
    if found.is_empty() && wanted.is_empty() {
        wanted.push(own);
    }
    found.extend(
        wanted
            .into_iter()
            .map(|group| Someone { example: member(&group, admission), who: Who::Group(group) }),
    );
    Ok(found)
}

/// The groups of those who are let in.
fn admitted(admission: &admission::Config, own: &str) -> Vec<String> {
    let mut groups: Vec<String> = Vec::new();
    if let Some(peer) = &admission.peer {
        groups.extend(peer.allow_uids.iter().map(|uid| format!("uid:{uid}")));
        if peer.allow_uids.is_empty() {
            groups.push(own.to_owned());
        }
    }
    if admission.bootstrap.is_some() {
        groups.push(own.to_owned());
    }
    let kinds = [
        ("oidc", !admission.oidc.is_empty()),
        ("mtls", admission.mtls.is_some()),
        ("anonymous", admission.anonymous),
    ];
    groups.extend(kinds.iter().filter(|(_, there)| *there).map(|(kind, _)| (*kind).to_owned()));
    let mut once: Vec<String> = Vec::new();
    for group in groups {
        if !once.contains(&group) {
            once.push(group);
        }
    }
    once
}

fn named(id: &str) -> String {
    format!("{{ id: {} }}", serde_json::Value::from(id))
}

/// Somebody in this group.
fn member(group: &str, admission: Option<&admission::Config>) -> String {
    let issuer = admission.and_then(|admission| admission.oidc.first()).map(|oidc| oidc.issuer.as_str());
    let bearer = format!("oidc:{}#alice", issuer.unwrap_or("https://issuer.example"));
    let domain = admission.and_then(|a| a.mtls.as_ref()).and_then(|mtls| mtls.domains().into_iter().next());
    let in_it = |id: &str| {
        format!("{{ id: {}, groups: [{}] }}", serde_json::Value::from(id), serde_json::Value::from(group))
    };
    match group.split_once(':') {
        Some(("uid", uid)) if uid.parse::<u32>().is_ok() => format!("{{ uid: {uid} }}"),
        Some(("spiffe", _)) => named(&format!("{}/agent", group.trim_end_matches('/'))),
        None if group == "oidc" => named(&bearer),
        None if group == "mtls" => {
            named(&format!("spiffe://{}/agent", domain.as_deref().unwrap_or("example.org")))
        }
        None if group == "anonymous" => named(group),
        None if group == "bootstrap" => named("bootstrap:1000"),
        None if group == "peer" => "{ uid: 1000 }".to_owned(),
        _ => in_it(&bearer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CaseFile;

    #[test]
    fn everybody_who_is_named_is_somebody_a_case_can_name() {
        for group in
            ["uid:7", "oidc", "oidc:staff", "mtls", "anonymous", "bootstrap", "peer", "spiffe://a.org/x"]
        {
            let found = someone(&[], &[group.to_owned()], None).unwrap();
            let text = format!(
                "server: f\ncases:\n  - {{ name: a, principal: {}, method: session/open, expect: allow }}\n",
                found[0].example
            );
            let file = CaseFile::parse("x", &text).unwrap();
            let facts = &file.cases[0].facts;
            let known = match group.split_once(':') {
                None => facts.evidence.as_str() == group,
                Some(("uid", uid)) => facts.uid == uid.parse().ok(),
                Some(_) => facts.groups.iter().any(|own| own == group),
            };
            assert!(known, "{group}: {text}");
        }
        assert!(someone(&["alice".to_owned()], &[], None).is_err());
    }
}
