//! What policies say of a case, beside what it expects of them.

use super::story::headline;
use crate::config::{Case, CaseAction, CasePlace, Expect, Mistake};
use crate::domain::decision::Effect;
use crate::domain::digest::Salt;
use crate::domain::refusal::DenyReason;
use crate::policy::{Action, Direction, Engine, Explanation, Listed, Misnamed, Query, nearest};

/// What came of a case.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) explanation: Explanation,
    /// Whether a list would show it; only where the case asks for that.
    pub(super) listed: Option<bool>,
    /// What is other than expected.
    pub(super) missed: Option<Mistake>,
}

/// Asks the policies.
pub(super) fn judge(engine: &Engine, case: &Case) -> Verdict {
    let session = engine.session_principal(&case.facts);
    let salt = Salt::from_bytes([0; 16]);
    let action = action(&case.asked);
    let explanation =
        engine.explain(&Query { session: &session, action, now: case.now, state: &case.state, salt: &salt });
    let entry = match &case.asked {
        CaseAction::Call { tool, .. } => Some(Listed::Tool(tool)),
        CaseAction::Method { method, target: Some(target), .. } => match method.as_str() {
            "prompts/get" => Some(Listed::Prompt(target)),
            "resources/read" if target.contains('{') => Some(Listed::Template(target)),
            "resources/read" => Some(Listed::Resource(target)),
            _ => None,
        },
        _ => None,
    };
    let listed = match case.expect {
        Expect::Listed | Expect::Hidden => {
            entry.map(|entry| engine.could_be_permitted(&session, entry, case.now, &case.state))
        }
        _ => None,
    };
    let missed = missed(engine, case, &explanation, listed);
    Verdict { explanation, listed, missed }
}

/// The action of a case.
pub(super) fn action(asked: &CaseAction) -> Action<'_> {
    match asked {
        CaseAction::Open => Action::SessionOpen,
        CaseAction::Call { tool, arguments } => {
            Action::ToolCall { name: tool, arguments: Some(arguments.as_bytes()) }
        }
        CaseAction::Method { method, target, from } => {
            Action::Method { method, target: target.as_deref(), from: *from }
        }
    }
}

/// The request in a few words.
pub(super) fn request(case: &Case) -> String {
    let server = &case.facts.server;
    let principal = &case.facts.principal;
    match &case.asked {
        CaseAction::Open => format!("{principal} opens a session with {server}"),
        CaseAction::Call { tool, .. } => format!("{principal} calls {server}/{tool}"),
        CaseAction::Method { method, target, from } => {
            let target = target.as_deref().map(|target| format!(" {target}")).unwrap_or_default();
            match from {
                Direction::Client => format!("{principal} sends {method}{target} to {server}"),
                Direction::Server => format!("{server} sends {method}{target} to {principal}"),
            }
        }
    }
}

fn missed(engine: &Engine, case: &Case, explanation: &Explanation, listed: Option<bool>) -> Option<Mistake> {
    let ruling = &explanation.ruling;
    let name = &case.name;
    if let Some(nothing) = of_nothing(case, explanation) {
        return Some(nothing);
    }
    let wrong = |got: &str| {
        let expected = match case.expect {
            Expect::Allow => "allow",
            Expect::Deny(reason) => reason.unwrap_or("deny"),
            Expect::Listed => "listed",
            Expect::Hidden => "hidden",
        };
        let message = format!("case `{name}`: expected {expected}, and it is {got}");
        Some(case.missed(message, CasePlace::Expect, None))
    };
    match (case.expect, listed) {
        (Expect::Listed | Expect::Hidden, None) => {
            let help = "ask for a tool, or for `prompts/get` or `resources/read` with a `target`".to_owned();
            return Some(case.missed(
                format!("case `{name}`: no list has that"),
                CasePlace::Expect,
                Some(help),
            ));
        }
        (Expect::Listed, Some(false)) => return wrong("hidden"),
        (Expect::Hidden, Some(true)) => return wrong("listed"),
        (Expect::Listed | Expect::Hidden, _) => return None,
        (Expect::Allow, _) if ruling.effect != Effect::Allow => return wrong(&headline(ruling)),
        (Expect::Deny(_), _) if ruling.effect == Effect::Allow => return wrong(&headline(ruling)),
        (Expect::Deny(None), _)
            if matches!(ruling.deny, Some(DenyReason::InvalidInput | DenyReason::UnknownTool)) =>
        {
            let got = ruling.deny.map_or("", DenyReason::as_str);
            let message = format!("case `{name}`: no policy denies it: it is {got}");
            let help = format!("`deny` is a policy's word; write `expect: {got}` if that is meant");
            return Some(case.missed(message, CasePlace::Expect, Some(help)));
        }
        (Expect::Deny(Some(reason)), _) if ruling.deny.is_none_or(|deny| deny.as_str() != reason) => {
            return wrong(&headline(ruling));
        }
        _ => {}
    }
    let mut by: Vec<&str> = ruling.determining.iter().map(|policy| &*policy.id).collect();
    by.sort_unstable();
    match &case.by {
        Some(expected) if *expected != by => {
            let words = |ids: &[&str]| match ids {
                [] => "no policy".to_owned(),
                ids => ids.iter().map(|id| format!("`{id}`")).collect::<Vec<_>>().join(", "),
            };
            let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
            let message =
                format!("case `{name}`: expected by {}, and it is by {}", words(&expected), words(&by));
            Some(case.missed(message, CasePlace::By, misnamed(engine, &expected)))
        }
        _ => None,
    }
}

/// That a case asks for what there is not, which is denied whatever the policies say; unless it expects just that.
fn of_nothing(case: &Case, explanation: &Explanation) -> Option<Mistake> {
    let hint = explanation.hint.as_ref()?;
    let call = matches!(case.asked, CaseAction::Call { .. });
    if call && case.expect == Expect::Deny(Some(DenyReason::UnknownTool.as_str())) {
        return None;
    }
    let (place, otherwise) = match hint.about {
        Misnamed::Nothing => return None,
        Misnamed::Server if call => (CasePlace::Server, "expect `unknown_tool` if that is meant"),
        Misnamed::Server => (CasePlace::Server, "name a server that is known"),
        Misnamed::Tool => (CasePlace::Asked, "expect `unknown_tool` if that is meant"),
        Misnamed::Method => (CasePlace::Asked, "write `method: other` for what has no action of its own"),
    };
    let help = hint.fix.clone().unwrap_or_else(|| otherwise.to_owned());
    Some(case.missed(format!("case `{}`: {}", case.name, hint.what), place, Some(help)))
}

/// An id of no policy among these, and the one that was probably meant.
fn misnamed(engine: &Engine, ids: &[&str]) -> Option<String> {
    let places = engine.places();
    let known = || places.iter().map(|place| &*place.reference.id);
    let wrong = ids.iter().find(|id| !known().any(|known| known == **id))?;
    Some(match nearest(wrong, known()) {
        Some(near) => format!("there is no policy `{wrong}`; did you mean `{near}`?"),
        None => format!("there is no policy `{wrong}`"),
    })
}
