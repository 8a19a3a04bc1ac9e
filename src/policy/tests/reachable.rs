//! What nobody can be, in policies.

use super::*;

fn provable() -> Provable {
    let set = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    Provable {
        issuers: set(&["https://login.example.org"]),
        claims: set(&["department"]),
        group_prefixes: set(&["oidc:"]),
    }
}

/// What is said of a policy with this scope and these conditions.
fn said(effect: &str, principal: &str, conditions: &str, provable: &Provable) -> Vec<String> {
    let text = format!("{effect} ({principal}, action, resource) {conditions};");
    let warnings = engine(&text, &reference()).unprovable(provable);
    warnings.iter().map(|warning| format!("{}: {warning}", warning.severity.as_str())).collect()
}

#[test]
fn a_forbid_on_a_claim_that_no_issuer_is_asked_for_is_warned_of_in_its_place() {
    let when =
        r#"when { principal.hasTag("contractor") && principal.getTag("contractor").contains("true") }"#;
    let found = said("forbid", "principal", when, &provable());
    assert_eq!(
        found,
        [
            "warning: p.cedar:1:62: no `admission.oidc[].claims` lets `contractor` through, so this forbid protects \
             nothing (add it to the issuer's `claims` in the configuration: `claims: [contractor]`)"
        ]
    );
    let found = said("permit", "principal", when, &Provable::default());
    assert!(found[0].contains("lets nobody in (configure the issuer in `admission.oidc`"), "{found:?}");
    let unless = r#"unless { principal.hasTag("departement") }"#;
    let found = said("forbid", "principal", unless, &provable());
    assert!(found[0].contains("true of nobody (did you mean `department`?)"), "{found:?}");
}

#[test]
fn a_forbid_on_a_group_without_the_issuers_prefix_is_warned_of() {
    let found = said("forbid", r#"principal in Mcp::Group::"on-leave""#, "", &provable());
    let wanted = "no evidence makes the group `on-leave`, so this forbid protects nothing \
                  (did you mean `Mcp::Group::\"oidc:on-leave\"`?)";
    assert!(found[0].ends_with(wanted), "{found:?}");
    let conditions = r#"when { context has time && principal in Mcp::Group::"uid:root" }"#;
    let found = said("forbid", "principal", conditions, &Provable::default());
    assert!(found[0].contains("protects nothing"), "{found:?}");
}

#[test]
fn an_agent_that_no_evidence_makes_is_warned_of() {
    for agent in [
        "alice",
        "oidc:https://login.example.com#alice",
        "oidc:https://login.example.org",
        "peer:1000",
        "peer:root:-",
        "bootstrap:01",
        "anonymous:",
    ] {
        let found = said("forbid", &format!(r#"principal == Mcp::Agent::"{agent}""#), "", &provable());
        assert_eq!(found.len(), 1, "{agent}: {found:?}");
        assert!(
            found[0].contains(&format!("the agent `{agent}`, so this forbid protects nothing")),
            "{found:?}"
        );
    }
}

#[test]
fn what_evidence_can_make_is_not_warned_of() {
    let digest = crate::domain::digest::Sha256Digest::of(b"x").to_string();
    let peer = format!("peer:0:{digest}");
    for agent in [
        "anonymous",
        "peer:1000:-",
        &peer,
        "bootstrap:0",
        "spiffe://example.org/a",
        "oidc:https://login.example.org#alice",
    ] {
        let found = said("forbid", &format!(r#"principal == Mcp::Agent::"{agent}""#), "", &provable());
        assert!(found.is_empty(), "{found:?}");
    }
    for group in
        ["peer", "bootstrap", "oidc", "mtls", "anonymous", "uid:0", "spiffe://example.org", "oidc:on-leave"]
    {
        let found = said("permit", &format!(r#"principal in Mcp::Group::"{group}""#), "", &provable());
        assert!(found.is_empty(), "{found:?}");
    }
    let tag = r#"when { principal.hasTag("department") && principal.getTag("department").contains("x") }"#;
    assert!(said("forbid", "principal", tag, &provable()).is_empty());
}
