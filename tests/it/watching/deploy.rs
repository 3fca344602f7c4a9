//! What is under `deploy/`, and `docker-compose.yml`: sound by the tools that read it, and true of this service.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use super::{read, script};

const KUBERNETES: &str = "deploy/kubernetes/stillframe.yaml";

fn manifests() -> Vec<Value> {
    let text = script("yaml_to_json.py", &read(KUBERNETES));
    serde_json::from_str(&text).expect("JSON")
}

fn manifest(kind: &str) -> Value {
    let mut of_kind = manifests().into_iter().filter(|m| m["kind"] == kind);
    of_kind.next().unwrap_or_else(|| panic!("no {kind}"))
}

/// Every environment variable that `serve` reads, and those of the AWS chain.
fn known_variables() -> BTreeSet<String> {
    let table = stillframe::config::settings_table();
    let names = table.lines().filter_map(|line| line.split('|').nth(2));
    let mut known: BTreeSet<String> = names.map(|n| n.trim().trim_matches('`').to_string()).collect();
    known.extend(["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"].map(String::from));
    known
}

/// Every option of `serve`.
fn known_options() -> BTreeSet<String> {
    let table = stillframe::config::settings_table();
    let names = table.lines().filter_map(|line| line.split('|').nth(1));
    names.map(|n| n.trim().trim_matches('`').to_string()).collect()
}

#[test]
fn kubernetes_manifests_are_what_kubernetes_accepts() {
    let count: usize = script("check_kubernetes.py", &read(KUBERNETES))
        .trim()
        .parse()
        .expect("a count");
    assert_eq!(count, 6);
    let broken = read(KUBERNETES).replace("readOnlyRootFilesystem: true", "readOnlyRootFileSystem: true");
    let refused = std::panic::catch_unwind(|| script("check_kubernetes.py", &broken));
    assert!(refused.is_err(), "a misspelt field was accepted");
}

#[test]
fn kubernetes_settings_and_probes_are_those_of_the_service() {
    let known = known_variables();
    let config = manifest("ConfigMap");
    for name in config["data"].as_object().expect("settings").keys() {
        assert!(known.contains(name), "{name} is no setting");
    }
    // what the comment puts into the secret
    for line in read(KUBERNETES).lines().filter(|l| l.contains("--from-literal=")) {
        for part in line.split("--from-literal=").skip(1) {
            let name = part.split('=').next().expect("a name");
            assert!(known.contains(name), "{name} is no setting");
        }
    }
    // nobody without a key, but whoever reads the metrics
    let settings = &config["data"];
    assert_eq!(
        (&settings["STILLFRAME_AUTH"], &settings["STILLFRAME_OPEN_METRICS"]),
        (&"true".into(), &"true".into())
    );
    assert!(settings.get("STILLFRAME_INSECURE").is_none());
    assert!(
        read(KUBERNETES).contains("--from-literal=STILLFRAME_ADMIN_KEY="),
        "the first key"
    );
    let document = serde_json::to_value(stillframe::api::document()).expect("JSON");
    let deployment = manifest("Deployment");
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let path = container[probe]["httpGet"]["path"].as_str().expect("a path");
        assert!(document["paths"][path]["get"].is_object(), "{path} is no route");
    }
    let options = known_options();
    let args: Vec<&str> = container["args"]
        .as_array()
        .expect("args")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(args[0], "serve");
    assert!(args[1..].iter().all(|a| options.contains(*a)), "{args:?}");
    let job = manifest("Job");
    assert!(
        args.contains(&"--no-migrate")
            && job["spec"]["template"]["spec"]["containers"][0]["args"] == serde_json::json!(["migrate"])
    );
    let scraped = &deployment["spec"]["template"]["metadata"]["annotations"]["prometheus.io/path"];
    assert!(document["paths"][scraped.as_str().expect("a path")].is_object());
}

#[test]
fn pods_run_without_root_on_a_filesystem_that_is_read_only() {
    for kind in ["Deployment", "Job"] {
        let pod = &manifest(kind)["spec"]["template"]["spec"];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{kind}");
        assert_eq!(pod["automountServiceAccountToken"], false, "{kind}");
        for container in pod["containers"].as_array().expect("containers") {
            let security = &container["securityContext"];
            assert_eq!(security["readOnlyRootFilesystem"], true, "{kind}");
            assert_eq!(security["allowPrivilegeEscalation"], false, "{kind}");
            assert_eq!(security["capabilities"]["drop"][0], "ALL", "{kind}");
            assert!(container["resources"]["limits"]["memory"].is_string(), "{kind}");
        }
    }
    // the user of the image
    let deployment = manifest("Deployment");
    let user = &deployment["spec"]["template"]["spec"]["securityContext"]["runAsUser"];
    assert!(read("Dockerfile").contains(&format!("--uid {user}")));
}

#[test]
fn selectors_choose_the_pods_and_their_grace_is_longer_than_the_service_needs() {
    let deployment = manifest("Deployment");
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    assert_eq!(&deployment["spec"]["selector"]["matchLabels"], labels);
    assert_eq!(&manifest("Service")["spec"]["selector"], labels);
    assert_eq!(&manifest("PodDisruptionBudget")["spec"]["selector"]["matchLabels"], labels);
    assert_eq!(&manifest("NetworkPolicy")["spec"]["podSelector"]["matchLabels"], labels);
    assert_ne!(
        &manifest("Job")["spec"]["template"]["metadata"]["labels"],
        labels,
        "no requests to the job"
    );
    assert!(deployment["spec"]["replicas"].as_i64() > Some(1));
    let grace = deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"].as_i64();
    assert!(grace > Some(20 + 10), "--shutdown-seconds and the aborting of uploads");
}

/// What docker-compose says of a file; no engine is needed for that.
fn compose_config(file: &Path) -> Output {
    let mut command = Command::new("docker-compose");
    command.arg("-f").arg(file).args(["config", "--quiet"]);
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).output();
    output.expect("docker-compose is missing: run `make setup`")
}

#[test]
fn compose_is_accepted_by_docker_compose_and_names_settings_that_exist() {
    let text = script("yaml_to_json.py", &read("docker-compose.yml"));
    let compose: Value = serde_json::from_str(&text).expect("JSON");
    let known = known_variables();
    let environment = compose[0]["services"]["stillframe"]["environment"]
        .as_object()
        .expect("settings");
    for name in environment.keys() {
        assert!(known.contains(name), "{name} is no setting");
    }
    // who reaches the port needs a key, and there is one to begin with
    assert_eq!(environment["STILLFRAME_AUTH"], "true");
    let key = environment["STILLFRAME_ADMIN_KEY"].as_str().expect("an admin key");
    assert!(key.len() >= 32, "{key}");
    assert!(!environment.contains_key("STILLFRAME_INSECURE"));
    assert!(!environment.contains_key("STILLFRAME_OPEN_METRICS"));
    let ports = compose[0]["services"]["stillframe"]["ports"].as_array().expect("ports");
    assert!(
        ports.iter().all(|p| p.as_str().is_some_and(|p| p.starts_with("127.0.0.1:"))),
        "the key is in the file: {ports:?}"
    );
    let output = compose_config(Path::new("docker-compose.yml"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let directory = tempfile::tempdir().expect("a directory");
    let broken = directory.path().join("docker-compose.yml");
    std::fs::write(&broken, read("docker-compose.yml").replace("depends_on:", "depend_on:")).expect("written");
    assert!(!compose_config(&broken).status.success(), "a misspelt field was accepted");
}

#[test]
fn the_systemd_unit_is_sound_and_names_settings_that_exist() {
    let path = "deploy/systemd/stillframe.service";
    let unit = read(path);
    let known = known_variables();
    for line in unit.lines() {
        if let Some(setting) = line.strip_prefix("Environment=") {
            let name = setting.split('=').next().expect("a name");
            assert!(known.contains(name), "{name} is no setting");
        }
    }
    assert!(unit.contains("ExecStart=/usr/local/bin/stillframe serve\n"));
    // systemd wants the program to be there: this one is
    let directory = tempfile::tempdir().expect("a directory");
    let copy = directory.path().join("stillframe.service");
    let here = unit.replace("/usr/local/bin/stillframe", env!("CARGO_BIN_EXE_stillframe"));
    std::fs::write(&copy, here).expect("written");
    let output = Command::new("systemd-analyze")
        .arg("verify")
        .arg("--man=no")
        .arg(&copy)
        .output()
        .expect("systemd-analyze is missing: run `make setup`");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let about: Vec<&str> = said.lines().filter(|l| l.contains("stillframe.service")).collect();
    assert_eq!(about, Vec::<&str>::new());
}
