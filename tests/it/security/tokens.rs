//! Tokens of an OpenID provider, good ones and forged ones.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as BASE64};
use serde_json::{Value, json};
use stillframe::domain::access::Grant;
use stillframe::milvus::proto::common::Status;
use stillframe::milvus::proto::milvus as m;
use stillframe::service::{AuthSettings, OidcSettings};

use super::provider::{Provider, Signer, now, unsigned};
use super::who::{Who, required};
use crate::support::TestApp;

const AUDIENCE: &str = "stillframe";

fn settings(provider: &Provider) -> AuthSettings {
    let grant = |text: &str| Grant::parse(text).expect("a grant");
    AuthSettings {
        oidc: Some(OidcSettings {
            issuer: provider.issuer.clone(),
            audience: AUDIENCE.into(),
            jwks_url: None,
            claim: "groups".into(),
            grants: vec![("ops".into(), grant("admin")), ("team-a".into(), grant("operator@team_a"))],
            pause: OidcSettings::PAUSE,
            refresh: OidcSettings::REFRESH,
        }),
        ..required()
    }
}

fn claims(provider: &Provider) -> Value {
    json!({"iss": provider.issuer, "aud": AUDIENCE, "sub": "alice", "exp": now() + 300, "groups": ["ops"]})
}

/// The same claims, changed; null takes one away.
fn but(claims: &Value, changes: Value) -> Value {
    let mut claims = claims.clone();
    for (key, value) in changes.as_object().expect("an object") {
        match value {
            Value::Null => drop(claims.as_object_mut().expect("an object").remove(key)),
            value => claims[key] = value.clone(),
        }
    }
    claims
}

async fn status(app: &TestApp, token: &str) -> u16 {
    Who::with(app, token).get("/v1/databases").await.status.as_u16()
}

#[tokio::test]
async fn a_token_of_the_provider_gives_what_its_groups_are_granted() {
    let (ec, rsa) = (Signer::ec(), Signer::rsa());
    let provider = Provider::start(vec![ec.jwk("ec"), rsa.jwk("rsa")]).await;
    let app = TestApp::with_auth(settings(&provider)).await;
    let claims = claims(&provider);
    for (signer, kid) in [(&ec, "ec"), (&rsa, "rsa")] {
        let alice = Who::with(&app, &signer.token(kid, &claims));
        alice
            .post("/v1/databases", &json!({"name": format!("by_{kid}")}))
            .await
            .created();
    }
    let list = Who::admin(&app).get("/v1/audit?principal=alice").await.ok().json;
    assert_eq!(list["items"].as_array().expect("items").len(), 2);
    assert_eq!(list["items"][0]["principal_kind"], "token");

    let several = but(
        &claims,
        json!({"aud": ["other", AUDIENCE], "groups": "x team-a", "nbf": now() - 5, "exp": now() + 60}),
    );
    let member = Who::with(&app, &ec.token("ec", &several));
    member.get("/v1/databases").await.ok();
    member.get("/v1/databases/by_ec").await.refused(403, "permission_denied");
    member
        .post("/v1/databases", &json!({"name": "x"}))
        .await
        .refused(403, "permission_denied");
    for groups in [
        json!({"groups": null}),
        json!({"groups": []}),
        json!({"groups": ["ops "]}),
        json!({"groups": 1}),
    ] {
        let nobody = Who::with(&app, &ec.token("ec", &but(&claims, groups)));
        nobody.get("/v1/databases").await.refused(403, "permission_denied");
    }
    let key = Who::new(&app, "k", &[("reader", "*", "*")]).await;
    key.get("/v1/databases").await.ok();
}

#[tokio::test]
async fn a_token_holds_over_grpc_and_rest_v2_too() {
    let (signer, forger) = (Signer::ec(), Signer::ec());
    let provider = Provider::start(vec![signer.jwk("k")]).await;
    let app = TestApp::with_auth(settings(&provider)).await;
    let claims = claims(&provider);
    let member = signer.token("k", &but(&claims, json!({"sub": "bob", "groups": "team-a"})));
    let expired = signer.token("k", &but(&claims, json!({"exp": now() - 120})));
    let forged = forger.token("k", &claims);
    let alice = signer.token("k", &claims);
    let create = async |token: &str, db_name: &str| -> i32 {
        // as pymilvus sends a token
        let sent = STANDARD.encode(token);
        let request = m::CreateDatabaseRequest {
            db_name: db_name.into(),
            ..Default::default()
        };
        let metadata = [("authorization", sent.as_str())];
        app.milvus_with::<Status>("CreateDatabase", request, &metadata).await.code
    };
    assert_eq!(create(&alice, "team_a").await, 0);
    for (token, code) in [(&member, 1401), (&expired, 1400), (&forged, 1400)] {
        assert_eq!(create(token, "other").await, code);
    }
    let snapshot = json!({"dbName": "team_a", "collectionName": "c", "snapshotName": "s"});
    let rest = async |token: &str, call: &str| -> Value {
        let (who, path) = (Who::with(&app, token), format!("/v2/vectordb/snapshots/{call}"));
        who.post(&path, &snapshot).await.ok().json["code"].clone()
    };
    for (token, code) in [(&member, json!(100)), (&expired, json!(1400)), (&forged, json!(1400))] {
        assert_eq!(
            rest(token, "create").await,
            code,
            "there is no such collection, for who may ask"
        );
    }
    let recorded = Who::admin(&app).get("/v1/audit?principal=bob").await.ok().json;
    let recorded: Vec<&Value> = recorded["items"].as_array().expect("items").iter().collect();
    let operations: Vec<&Value> = recorded.iter().map(|e| &e["operation"]).collect();
    assert_eq!(operations, ["milvus_create_snapshot", "milvus.CreateDatabase"]);
    assert!(recorded.iter().all(|e| e["principal_kind"] == "token"), "{recorded:?}");
}

#[tokio::test]
async fn a_token_that_is_not_for_us_or_not_for_now_is_refused() {
    let signer = Signer::ec();
    let provider = Provider::start(vec![signer.jwk("k")]).await;
    let app = TestApp::with_auth(settings(&provider)).await;
    let good = claims(&provider);
    assert_eq!(status(&app, &signer.token("k", &good)).await, 200);
    for (what, change) in [
        ("another audience", json!({"aud": "other"})),
        ("other audiences", json!({"aud": ["other", "stillframe2"]})),
        ("no audience", json!({"aud": null})),
        ("an empty audience", json!({"aud": []})),
        ("another issuer", json!({"iss": "https://evil.example.com"})),
        (
            "an issuer that begins like ours",
            json!({"iss": format!("{}/", provider.issuer)}),
        ),
        ("no issuer", json!({"iss": null})),
        ("expired", json!({"exp": now() - 120})),
        ("no end", json!({"exp": null})),
        ("an end that is a text", json!({"exp": "never"})),
        ("not yet", json!({"nbf": now() + 120})),
        ("no subject", json!({"sub": null})),
        ("an empty subject", json!({"sub": ""})),
    ] {
        assert_eq!(status(&app, &signer.token("k", &but(&good, change))).await, 401, "{what}");
    }
}

#[tokio::test]
async fn a_forged_token_is_refused() {
    let (ec, rsa) = (Signer::ec(), Signer::rsa());
    let provider = Provider::start(vec![ec.jwk("ec"), rsa.jwk("rsa")]).await;
    let app = TestApp::with_auth(settings(&provider)).await;
    let good = claims(&provider);
    let token = ec.token("ec", &good);
    assert_eq!(status(&app, &token).await, 200);
    let parts: Vec<&str> = token.split('.').collect();

    // not signed
    for alg in ["none", "None", "NONE", ""] {
        let plain = unsigned(&json!({"alg": alg, "kid": "ec"}), &good);
        for forged in [format!("{plain}."), plain.clone(), format!("{plain}.{}", parts[2])] {
            assert_eq!(status(&app, &forged).await, 401, "{alg:?}");
        }
    }
    // signed with what everybody knows, as if it were a shared secret
    for (kid, signer) in [("ec", &ec), ("rsa", &rsa)] {
        let jwk = signer.jwk(kid);
        let secrets = [
            signer.public(),
            jwk.to_string().into_bytes(),
            jwk["n"].as_str().or(jwk["x"].as_str()).expect("text").as_bytes().to_vec(),
            Vec::new(),
        ];
        for secret in secrets {
            let plain = unsigned(&json!({"alg": "HS256", "kid": kid}), &good);
            let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &secret);
            let tag = BASE64.encode(aws_lc_rs::hmac::sign(&key, plain.as_bytes()));
            assert_eq!(status(&app, &format!("{plain}.{tag}")).await, 401, "HS256 with a public key");
        }
    }
    // another algorithm than the key's, another key than the one named, a key that comes along
    let own = Signer::ec();
    for forged in [
        ec.token_with(&json!({"alg": "RS256", "kid": "ec"}), &good),
        rsa.token_with(&json!({"alg": "PS256", "kid": "rsa"}), &good),
        rsa.token_with(&json!({"alg": "RS512", "kid": "rsa"}), &good),
        ec.token_with(&json!({"alg": "ES256", "kid": "rsa"}), &good),
        own.token("ec", &good),
        own.token_with(&json!({"alg": "ES256", "jwk": own.jwk("own"), "kid": "own"}), &good),
        own.token_with(&json!({"alg": "ES256", "jwk": own.jwk("ec"), "kid": "ec"}), &good),
        own.token_with(
            &json!({"alg": "ES256", "jku": "http://127.0.0.1:1/keys", "kid": "own"}),
            &good,
        ),
        // without an id it is not clear which of the two keys is meant
        ec.token_with(&json!({"alg": "ES256"}), &good),
        ec.token_with(&json!({"alg": "ES256", "kid": "ec", "crit": ["x"], "x": 1}), &good),
    ] {
        assert_eq!(status(&app, &forged).await, 401, "{forged}");
    }
    // changed after it was signed
    let other = BASE64.encode(but(&good, json!({"sub": "root"})).to_string());
    for forged in [
        format!("{}.{other}.{}", parts[0], parts[2]),
        format!("{}.{}.{}", parts[0], parts[1], &parts[2][..40]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}.{}.{}", parts[0], parts[1], parts[2], parts[2]),
        format!("{token}="),
        BASE64.encode(&token),
        "a.b.c".into(),
        "x".repeat(100_000),
    ] {
        assert_eq!(status(&app, &forged).await, 401);
    }
}

#[tokio::test]
async fn a_new_key_is_fetched_and_an_outage_takes_no_known_key_away() {
    let (old, new) = (Signer::ec(), Signer::ec());
    let provider = Provider::start(vec![old.jwk("old")]).await;
    let app = TestApp::with_auth(settings(&provider)).await;
    let claims = claims(&provider);
    assert_eq!(status(&app, &old.token("old", &claims)).await, 200);
    assert_eq!(provider.fetches(), 1);

    // unknown keys make the service ask once in ten seconds, whoever sends how many
    for n in 0..20 {
        assert_eq!(status(&app, &new.token(&format!("made-up-{n}"), &claims)).await, 401);
    }
    assert_eq!(provider.fetches(), 1, "it was asked a moment ago");

    provider.publish(None);
    assert_eq!(
        status(&app, &old.token("old", &claims)).await,
        200,
        "the provider is down, its key is known"
    );
    assert_eq!(status(&app, &new.token("new", &claims)).await, 401);
    assert_eq!(status(&app, &old.token("old", &claims)).await, 200);
}

#[tokio::test]
async fn a_rotated_key_is_found_by_its_id_when_the_pause_is_over() {
    let (old, new) = (Signer::ec(), Signer::ec());
    let provider = Provider::start(vec![old.jwk("old")]).await;
    let pause = std::time::Duration::from_millis(50);
    let mut auth = settings(&provider);
    auth.oidc.as_mut().expect("set").pause = pause;
    let app = TestApp::with_auth(auth).await;
    let claims = claims(&provider);
    assert_eq!(status(&app, &old.token("old", &claims)).await, 200);
    provider.publish(Some(vec![new.jwk("new")]));
    tokio::time::sleep(pause * 2).await;
    assert_eq!(status(&app, &new.token("new", &claims)).await, 200, "fetched at once");
    assert_eq!(status(&app, &old.token("old", &claims)).await, 401, "no longer published");
    // down, and asked in vain: what is known stays
    provider.publish(None);
    tokio::time::sleep(pause * 2).await;
    assert_eq!(status(&app, &old.token("other", &claims)).await, 401);
    assert_eq!(status(&app, &new.token("new", &claims)).await, 200);
}

#[tokio::test]
async fn keys_that_a_redirect_leads_to_are_not_taken() {
    let (ours, theirs) = (Signer::ec(), Signer::ec());
    let provider = Provider::start(vec![ours.jwk("k")]).await;
    // a redirect may lead to plain http, where anybody on the way puts his own key in
    let other = Provider::start(vec![theirs.jwk("k")]).await;
    provider.redirect(&format!("{}/keys", other.issuer));
    let app = TestApp::with_auth(settings(&provider)).await;
    assert_eq!(status(&app, &theirs.token("k", &claims(&provider))).await, 401);
    assert_eq!((provider.fetches(), other.fetches()), (1, 0));
}

#[tokio::test]
async fn a_provider_that_gives_its_keys_no_ids_has_all_of_them_tried() {
    let keyless = |signer: &Signer| {
        let mut jwk = signer.jwk("");
        jwk.as_object_mut().expect("an object").remove("kid");
        jwk
    };
    let (first, second, third, other) = (Signer::ec(), Signer::ec(), Signer::rsa(), Signer::ec());
    let with_id = Signer::ec();
    let published = vec![keyless(&first), keyless(&second), keyless(&third), with_id.jwk("k")];
    let provider = Provider::start(published).await;
    let app = TestApp::with_auth(settings(&provider)).await;
    let claims = claims(&provider);
    let header = |alg: &str| json!({"alg": alg, "typ": "JWT"});
    for (signer, alg) in [(&first, "ES256"), (&second, "ES256"), (&third, "RS256")] {
        assert_eq!(status(&app, &signer.token_with(&header(alg), &claims)).await, 200, "{alg}");
    }
    assert_eq!(status(&app, &with_id.token("k", &claims)).await, 200);
    // what is not among them, what names an id that is another's, and a key of an id without it
    for forged in [
        other.token_with(&header("ES256"), &claims),
        third.token_with(&header("PS256"), &claims),
        first.token("k", &claims),
        first.token("", &claims),
        with_id.token_with(&header("ES256"), &claims),
    ] {
        assert_eq!(status(&app, &forged).await, 401, "{forged}");
    }
}

#[tokio::test]
async fn of_two_keys_under_one_id_both_are_tried() {
    let (one, two, other) = (Signer::ec(), Signer::ec(), Signer::ec());
    let provider = Provider::start(vec![one.jwk("k"), two.jwk("k")]).await;
    let app = TestApp::with_auth(settings(&provider)).await;
    let claims = claims(&provider);
    assert_eq!(status(&app, &one.token("k", &claims)).await, 200);
    assert_eq!(status(&app, &two.token("k", &claims)).await, 200);
    assert_eq!(status(&app, &other.token("k", &claims)).await, 401);
}

#[tokio::test]
async fn a_key_that_was_withdrawn_goes_when_the_keys_are_fetched_again() {
    let (stays, goes) = (Signer::ec(), Signer::ec());
    let provider = Provider::start(vec![stays.jwk("stays"), goes.jwk("goes")]).await;
    let mut auth = settings(&provider);
    let oidc = auth.oidc.as_mut().expect("set");
    (oidc.pause, oidc.refresh) = (std::time::Duration::ZERO, std::time::Duration::ZERO);
    let app = TestApp::with_auth(auth).await;
    let claims = claims(&provider);
    assert_eq!(status(&app, &goes.token("goes", &claims)).await, 200);
    provider.publish(Some(vec![stays.jwk("stays")]));
    // no unknown id makes the service ask: the age of what it knows does, beside a call
    super::who::soon(async || {
        let status = status(&app, &goes.token("goes", &claims)).await;
        (status == 401).then_some(())
    })
    .await;
    assert_eq!(status(&app, &stays.token("stays", &claims)).await, 200);
    // the real age is ten minutes
    assert_eq!(OidcSettings::REFRESH, std::time::Duration::from_secs(600));
}
