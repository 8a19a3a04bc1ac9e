//! Load bench, end to end: tool calls to a real MCP server, direct and through `chancery serve`, in turns.
//!
//! Run with `cargo bench --bench gateway [-- --quick] [--durability written|fsync|queued]`. It starts the release
//! binary twice, as the tool server (`demo-server`, the official SDK on streamable HTTP) and as the gateway with all
//! on (admission, token, policies, signed log, a log line a decision), and drives 1, 16 and 64 sessions with one
//! pinned connection each. Many sessions go through the Unix socket with `peer` evidence, because a bootstrap secret
//! holds one live session; a row for TCP stands beside it. It prints ratios and asserts no time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench that fails ends"
)]

#[path = "gateway/client.rs"]
mod client;
#[path = "gateway/stage.rs"]
mod stage;

use std::time::{Duration, Instant};

use client::{Client, Target};
use stage::Stage;

/// What one turn measured.
struct Turn {
    latencies: Vec<Duration>,
    took: Duration,
    /// CPU time that the gateway took meanwhile.
    cpu: Duration,
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let flag = |name: &str| args.iter().any(|a| a == name);
    if !flag("--bench") {
        // `cargo test` and `cargo clippy` only compile this.
        return;
    }
    let durability = args.iter().position(|a| a == "--durability").and_then(|at| args.get(at + 1));
    let durability = durability.map_or("written", String::as_str);
    // Four rows of two sides and `turns` turns: 4 × 2 × 2 × 2.5 s = 40 s and the time to connect.
    let (turns, length) = if flag("--quick") { (1, 0.5) } else { (2, 2.5) };
    let length = Duration::from_secs_f64(length);

    let stage = Stage::set(durability);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    println!("durability {durability}; calls of `add` through {}", stage.describe());
    println!(
        "{:>9} {:>5} | {:>9} {:>9} {:>9} | {:>9} {:>9} {:>9} | {:>10} {:>10} {:>10}",
        "sessions",
        "by",
        "direct/s",
        "p50 µs",
        "p99 µs",
        "gated/s",
        "p50 µs",
        "p99 µs",
        "calls",
        "p50",
        "CPU/call"
    );
    let rows = [(1, "tcp"), (1, "unix"), (16, "unix"), (64, "unix")];
    for (sessions, by) in rows {
        let gated_target = if by == "tcp" { stage.tcp() } else { stage.unix() };
        let (mut direct, mut gated) = (Vec::new(), Vec::new());
        for _ in 0..turns {
            direct.push(runtime.block_on(turn(&stage, &stage.direct(), sessions, length)));
            gated.push(runtime.block_on(turn(&stage, &gated_target, sessions, length)));
        }
        row(sessions, by, direct, gated);
    }
    stage.strike();
}

/// Opens `sessions` sessions, and has each call as fast as it is answered, for `length`.
async fn turn(stage: &Stage, target: &Target, sessions: usize, length: Duration) -> Turn {
    let mut clients = Vec::new();
    for _ in 0..sessions {
        let mut client = Client::open(target).await;
        client.add(1, 2).await;
        clients.push(client);
    }
    let (cpu, start) = (stage.gateway_cpu(), Instant::now());
    let tasks = clients.into_iter().map(|mut client| {
        tokio::spawn(async move {
            let mut latencies = Vec::new();
            while start.elapsed() < length {
                let sent = Instant::now();
                client.add(i64::try_from(latencies.len()).unwrap(), 7).await;
                latencies.push(sent.elapsed());
            }
            (client, latencies)
        })
    });
    let (mut latencies, mut open) = (Vec::new(), Vec::new());
    for task in tasks.collect::<Vec<_>>() {
        let (client, own) = task.await.expect("every call is answered");
        latencies.extend(own);
        open.push(client);
    }
    let turn = Turn { latencies, took: start.elapsed(), cpu: stage.gateway_cpu() - cpu };
    for client in open {
        client.close().await;
    }
    turn
}

fn row(sessions: usize, by: &str, direct: Vec<Turn>, gated: Vec<Turn>) {
    let ((direct, _), (gated, cpu)) = (summary(direct), summary(gated));
    let calls = format!("{:.2}", gated[0] / direct[0]);
    let p50 = format!("{:.2}", gated[1] / direct[1]);
    println!(
        "{sessions:>9} {by:>5} | {:>9.0} {:>9.0} {:>9.0} | {:>9.0} {:>9.0} {:>9.0} | {calls:>10} {p50:>10} {cpu:>7.0} µs",
        direct[0], direct[1], direct[2], gated[0], gated[1], gated[2],
    );
}

/// Calls a second, p50 and p99 in µs; and the gateway's CPU time a call, in µs.
fn summary(turns: Vec<Turn>) -> ([f64; 3], f64) {
    let took: f64 = turns.iter().map(|t| t.took.as_secs_f64()).sum();
    let cpu: f64 = turns.iter().map(|t| t.cpu.as_secs_f64()).sum();
    let mut latencies: Vec<_> = turns.into_iter().flat_map(|t| t.latencies).collect();
    latencies.sort_unstable();
    let calls = f64::from(u32::try_from(latencies.len()).unwrap());
    let at = |percent: usize| {
        let at = (latencies.len() * percent / 100).min(latencies.len() - 1);
        latencies.get(at).unwrap().as_secs_f64() * 1e6
    };
    ([calls / took, at(50), at(99)], cpu / calls * 1e6)
}
