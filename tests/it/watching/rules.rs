//! The dashboard and the alerts ask for metrics and labels that exist, in PromQL that is one.

use std::collections::BTreeSet;

use serde_json::Value;
use stillframe::domain::Code;
use stillframe::milvus::status::Refusal;
use stillframe::telemetry::{ALL, Kind, Metric};

use super::{read, script};

fn alerts() -> Vec<Value> {
    let text = script("yaml_to_json.py", &read("deploy/prometheus/alerts.yaml"));
    let documents: Value = serde_json::from_str(&text).expect("JSON");
    let groups = documents[0]["groups"].as_array().expect("groups").clone();
    groups
        .iter()
        .flat_map(|g| g["rules"].as_array().expect("rules").clone())
        .collect()
}

fn dashboard() -> Value {
    serde_json::from_str(&read("deploy/grafana/stillframe.json")).expect("JSON")
}

/// Expressions, by where they stand.
fn expressions() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for alert in alerts() {
        let name = alert["alert"].as_str().expect("a name").to_string();
        found.push((name, alert["expr"].as_str().expect("an expression").to_string()));
    }
    for panel in dashboard()["panels"].as_array().expect("panels") {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().expect("an expression");
            found.push((panel["title"].as_str().expect("a title").to_string(), expression.to_string()));
        }
    }
    assert!(found.len() > 50, "they were not found");
    found
}

/// The metrics that an expression names, each with the text that follows it.
fn named(expression: &str) -> Vec<(String, &str)> {
    expression
        .match_indices("stillframe_")
        .map(|(at, _)| {
            let name: String = expression[at..]
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect();
            let rest = &expression[at + name.len()..];
            (name, rest)
        })
        .collect()
}

fn metric(name: &str) -> Option<&'static Metric> {
    ALL.iter().find(|m| match m.kind {
        // a histogram itself has no value
        Kind::Histogram => ["_bucket", "_sum", "_count"]
            .iter()
            .any(|end| name.strip_suffix(end) == Some(m.name)),
        _ => m.name == name,
    })
}

/// Labels in the braces after a metric.
fn selected(rest: &str) -> Vec<&str> {
    let Some(inside) = rest.strip_prefix('{').and_then(|r| r.split_once('}')) else {
        return Vec::new();
    };
    let matchers = inside.0.split("\",").filter(|m| !m.is_empty());
    matchers
        .map(|m| m.split(['=', '!']).next().unwrap_or_default().trim())
        .collect()
}

#[test]
fn dashboard_and_alerts_ask_only_for_metrics_and_labels_that_exist() {
    for (place, expression) in expressions() {
        let mut labels: BTreeSet<&str> = ["le", "instance"].into();
        let names = named(&expression);
        assert!(!names.is_empty(), "{place}: no metric of ours in {expression}");
        for (name, rest) in names {
            let metric = metric(&name).unwrap_or_else(|| panic!("{place}: there is no metric {name}"));
            for label in selected(rest) {
                assert!(metric.labels.contains(&label), "{place}: {name} has no label {label}");
            }
            labels.extend(metric.labels);
        }
        for list in expression.split("by (").skip(1) {
            let list = list.split(')').next().expect("an end");
            for label in list.split(',').map(str::trim) {
                assert!(
                    labels.contains(label),
                    "{place}: nothing in {expression} has the label {label}"
                );
            }
        }
    }
}

#[test]
fn every_metric_is_in_the_dashboard() {
    let text = read("deploy/grafana/stillframe.json");
    let shown: BTreeSet<String> = named(&text)
        .into_iter()
        .filter_map(|(name, _)| metric(&name).map(|m| m.name.to_string()))
        .collect();
    let missing: Vec<&str> = ALL.iter().map(|m| m.name).filter(|n| !shown.contains(*n)).collect();
    assert_eq!(missing, Vec::<&str>::new());
}

#[test]
fn the_alert_on_failures_of_milvus_api_names_the_codes_that_say_that_something_is_broken() {
    let alerts = alerts();
    let alert = alerts
        .iter()
        .find(|a| a["alert"] == "StillframeMilvusErrors")
        .expect("is there");
    let expression = alert["expr"].as_str().expect("an expression");
    let (_, codes) = expression.split_once("code=~\"").expect("codes");
    let codes = codes.split('"').next().expect("an end").split('|');
    let named: BTreeSet<i32> = codes.map(|code| code.parse().expect("a number")).collect();
    let refusals = Code::ALL.iter().map(|code| Refusal::from(code.error("why")));
    let broken: BTreeSet<i32> = refusals.filter(Refusal::is_ours).map(|refusal| refusal.code()).collect();
    assert_eq!(named, broken);
}

#[test]
fn expressions_are_promql() {
    let lines: Vec<String> = expressions()
        .into_iter()
        // what Grafana puts in
        .map(|(_, e)| Value::String(e.replace("$__rate_interval", "5m")).to_string() + "\n")
        .collect();
    script("check_promql.py", &lines.concat());
}

#[test]
fn the_check_of_expressions_can_fail() {
    assert!(
        metric("stillframe_http_request_seconds").is_none(),
        "a histogram has no value of its own"
    );
    assert!(metric("stillframe_nothing").is_none());
    assert_eq!(selected("{a=\"x\",b!~\"y{2}\"}"), ["a", "b"]);
    let failed = std::panic::catch_unwind(|| script("check_promql.py", "\"sum(rate(x[5m])\"\n"));
    assert!(failed.is_err(), "an expression without an end was accepted");
}

#[test]
fn every_alert_has_a_severity_a_summary_and_a_paragraph_in_the_operations_page() {
    let page = read("docs/operations.md");
    let alerts = alerts();
    for alert in &alerts {
        let name = alert["alert"].as_str().expect("a name");
        let severity = alert["labels"]["severity"].as_str().unwrap_or_default();
        assert!(matches!(severity, "critical" | "warning"), "{name}: {severity}");
        assert!(alert["annotations"]["summary"].is_string(), "{name}: no summary");
        let (_, paragraph) = page
            .split_once(&format!("\n**{name}**"))
            .unwrap_or_else(|| panic!("{name} has no paragraph"));
        let paragraph = paragraph.split("\n\n").next().unwrap_or_default();
        assert!(paragraph.len() > 100, "{name}: its paragraph says too little");
    }
    let told = page.matches("\n**Stillframe").count();
    assert_eq!(told, alerts.len(), "the page has a paragraph of an alert that is not there");
}
