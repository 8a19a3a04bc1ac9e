use std::time::{Duration, Instant};

use super::*;

fn environment(pairs: &'static [(&'static str, &'static str)]) -> impl Fn(&str) -> Option<String> {
    move |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
}

#[test]
fn nothing_is_exported_unless_an_endpoint_is_known() {
    assert_eq!(OtlpConfig::resolve(None, environment(&[])), None);
    assert_eq!(OtlpConfig::resolve(None, environment(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")])), None);
    assert_eq!(OtlpConfig::resolve(None, environment(&[("OTEL_TRACES_EXPORTER", "otlp")])), None);
}

#[test]
fn the_standard_variables_switch_each_signal() {
    let both =
        OtlpConfig::resolve(None, environment(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://h:4318")])).unwrap();
    assert_eq!((both.traces, both.metrics, both.endpoint), (true, true, None));
    let only = [("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://h:4318/x")];
    let traces = OtlpConfig::resolve(None, |name| environment_of(&only, name)).unwrap();
    assert_eq!((traces.traces, traces.metrics), (true, false));
    let none = environment(&[("OTEL_METRICS_EXPORTER", "none")]);
    let configured = OtlpConfig::resolve(Some("http://h:4318/"), none).unwrap();
    assert_eq!((configured.traces, configured.metrics), (true, false));
    assert_eq!(configured.url("/v1/traces").as_deref(), Some("http://h:4318/v1/traces"));
    assert_eq!(OtlpConfig::resolve(Some("http://h"), environment(&[("OTEL_SDK_DISABLED", "TRUE")])), None);
}

fn environment_of(pairs: &[(&str, &str)], name: &str) -> Option<String> {
    pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
}

#[test]
fn strangers_names_never_become_labels() {
    assert_eq!(labels::method("tools/call"), "tools/call");
    assert_eq!(labels::method("tools/call\u{0}evil"), "other");
    assert_eq!(labels::error("not_permitted"), "not_permitted");
    assert_eq!(labels::error("-31999"), "_OTHER");
    assert_eq!(labels::listener("tcp:127.0.0.1:1"), "tcp");
}

#[test]
fn a_bad_filter_is_told_apart_from_a_good_one() {
    assert!(subscriber::filter("warn,chancery=debug").is_ok());
    let error = subscriber::filter("chancery=loud").unwrap_err();
    assert!(error.to_string().contains("`chancery=loud`"), "{error}");
}

#[test]
fn an_https_receiver_can_be_configured() {
    let otlp = OtlpConfig {
        endpoint: Some("https://127.0.0.1:1".into()),
        traces: true,
        metrics: true,
        service_name: None,
    };
    let telemetry = Telemetry::start(&Config { log: LogConfig::default(), otlp: Some(otlp) }).unwrap();
    telemetry.shutdown();
}

#[test]
fn a_receiver_that_never_answers_holds_up_the_shutdown_for_two_seconds_at_most() {
    // Accepts by the kernel's backlog, never reads, never answers.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", mute.local_addr().unwrap());
    let otlp = OtlpConfig { endpoint: Some(endpoint), traces: true, metrics: true, service_name: None };
    let telemetry = Telemetry::start(&Config { log: LogConfig::default(), otlp: Some(otlp) }).unwrap();
    telemetry.recorder().decision("tools/call", crate::domain::decision::Effect::Allow);
    let begun = Instant::now();
    telemetry.shutdown();
    assert!(begun.elapsed() < Duration::from_secs(4), "took {:?}", begun.elapsed());
}
