//! The same policies for other tool definitions: what would make them invalid is left out, never the set.

use crate::domain::ids::ServerName;

use super::catalogue::{Catalogue, ToolDefinition};
use super::compile::{Compilation, Findings, compile};
use super::diagnostic::{PolicyDiagnostic, Severity, Warning};
use super::engine::Engine;

/// Compilations that one change of definitions may cost; what is left then stays out. A server sizes this.
const MOST_TRIES: usize = 64;

/// See [`Engine::with_catalogue`].
pub(super) fn recompile(engine: &Engine, catalogue: &Catalogue) -> Compilation {
    let (mut next, mut warnings) = active(engine, catalogue)?;
    if let Some(candidate) = engine.shadow() {
        match active(candidate, catalogue) {
            Ok((candidate, _told_of_the_active_set)) => next = next.with_shadow(Some(candidate)),
            Err(_why) => {
                let mut findings = Findings::default();
                findings
                    .warn("the shadow set does not fit the tools as they are now; it is left aside".into());
                warnings.extend(findings.0);
            }
        }
    }
    Ok((next, warnings))
}

fn active(engine: &Engine, catalogue: &Catalogue) -> Compilation {
    if let Ok(done) = compile(&engine.sources, catalogue) {
        return Ok(done);
    }
    let mut kept = catalogue.clone();
    let mut changed = Vec::new();
    for (server, tools) in &mut kept.servers {
        tools.retain(|tool| {
            let same = engine.tool(server, &tool.name).is_some_and(|known| known.digest() == tool.digest);
            if !same {
                changed.push((server.clone(), tool.clone()));
            }
            same
        });
    }
    let best = compile(&engine.sources, &kept)?;
    let mut trial = Trial { engine, kept, best, tries: MOST_TRIES, findings: Findings::default() };
    trial.add(&changed);
    let Trial { mut best, findings, .. } = trial;
    best.1.extend(findings.0);
    Ok(best)
}

/// The definitions that fit so far.
struct Trial<'a> {
    engine: &'a Engine,
    kept: Catalogue,
    best: (Engine, Vec<Warning>),
    tries: usize,
    findings: Findings,
}

impl Trial<'_> {
    /// Takes over those of `tools` that fit, by halves: few that don't cost few compilations.
    fn add(&mut self, tools: &[(ServerName, ToolDefinition)]) {
        if tools.is_empty() {
            return;
        }
        if self.tries == 0 {
            for (server, tool) in tools {
                self.leave_out(server, tool, "too many definitions don't fit the policies");
            }
            return;
        }
        self.tries -= 1;
        let mut tried = self.kept.clone();
        for (server, tool) in tools {
            tried.servers.entry(server.clone()).or_default().push(tool.clone());
        }
        match (compile(&self.engine.sources, &tried), tools) {
            (Ok(done), _) => (self.best, self.kept) = (done, tried),
            (Err(why), [(server, tool)]) => self.leave_out(server, tool, first_error(&why)),
            (Err(_), several) => {
                let (first, second) = several.split_at(several.len() / 2);
                self.add(first);
                self.add(second);
            }
        }
    }

    fn leave_out(&mut self, server: &ServerName, tool: &ToolDefinition, why: &str) {
        self.findings.warn(format!(
            "the tool `{server}/{}` is denied: its definition would make the policies invalid: {why}",
            tool.name
        ));
    }
}

fn first_error(findings: &[PolicyDiagnostic]) -> &str {
    findings.iter().find(|finding| finding.severity == Severity::Error).map_or("", |finding| &finding.message)
}
