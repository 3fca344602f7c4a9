//! Settings of who is let in and what is recorded.

use std::path::PathBuf;
use std::str::FromStr as _;

use anyhow::ensure;
use clap::Args;

use crate::domain::access::{Doors, Grant, Network, allowed_host};
use crate::service::{AuditLines, AuditSettings, AuthSettings, OidcSettings, Secret};
use crate::tls::TlsSettings;

/// Characters that a key of the operator's own choice must have at least.
const MIN_ADMIN_KEY: usize = 32;

/// Security settings as they are given.
#[derive(Debug, Clone, Args)]
pub struct SecurityArgs {
    /// Every call needs an API key or a token of the OpenID provider
    #[arg(long, env = "STILLFRAME_AUTH")]
    pub auth: bool,

    /// An API key with the role admin that is kept in no table, at least 32 characters; to make the first keys with
    #[arg(long, env = "STILLFRAME_ADMIN_KEY", hide_env_values = true, value_parser = secret)]
    pub admin_key: Option<Secret>,

    /// Issuer of the OpenID provider whose tokens are accepted, as it stands in their `iss`
    #[arg(long, env = "STILLFRAME_OIDC_ISSUER", requires = "oidc_audience")]
    pub oidc_issuer: Option<String>,

    /// What the `aud` of tokens must be or hold
    #[arg(long, env = "STILLFRAME_OIDC_AUDIENCE", requires = "oidc_issuer")]
    pub oidc_audience: Option<String>,

    /// Where the provider's keys are; without it its discovery document says it
    #[arg(long, env = "STILLFRAME_OIDC_JWKS_URL", requires = "oidc_issuer")]
    pub oidc_jwks_url: Option<String>,

    /// Claim of tokens whose values are granted something; dots lead into objects
    #[arg(long, env = "STILLFRAME_OIDC_CLAIM", default_value = "groups")]
    pub oidc_claim: String,

    /// VALUE=ROLE, VALUE=ROLE@DB or VALUE=ROLE@DB/COLLECTION: what a value of that claim is granted; DB and COLLECTION are patterns
    /// with `*`. Several: repeated, or parted by commas
    #[arg(long, env = "STILLFRAME_OIDC_GRANT", value_delimiter = ',', value_parser = oidc_grant, requires = "oidc_issuer", value_name = "VALUE=GRANT")]
    pub oidc_grant: Vec<(String, Grant)>,

    /// Without --auth: name by which the service may be asked for, beside addresses, names without a dot and `localhost`; `*.NAME` for
    /// everything below a name, `*` for any. Several: repeated, or parted by commas
    #[arg(long, env = "STILLFRAME_ALLOWED_HOSTS", value_delimiter = ',', value_parser = allowed_host, value_name = "NAME")]
    pub allowed_hosts: Vec<String>,

    /// Metrics need no credential
    #[arg(long, env = "STILLFRAME_OPEN_METRICS", requires = "auth")]
    pub open_metrics: bool,

    /// Proxies whose `X-Forwarded-For` is believed, addresses or networks such as 10.0.0.0/8. Several: repeated, or parted by commas
    #[arg(long, env = "STILLFRAME_TRUSTED_PROXY", value_delimiter = ',', value_parser = Network::from_str, value_name = "NETWORK")]
    pub trusted_proxy: Vec<Network>,

    /// File with the certificate chain of the service (PEM): it then speaks TLS only
    #[arg(long, env = "STILLFRAME_TLS_CERT", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// File with the certificate's private key (PEM)
    #[arg(long, env = "STILLFRAME_TLS_KEY", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// File with certificates of authorities (PEM): connections need a client certificate of one of them
    #[arg(long, env = "STILLFRAME_TLS_CLIENT_CA", requires = "tls_cert")]
    pub tls_client_ca: Option<PathBuf>,

    /// Record calls that only read in the audit log too
    #[arg(long, env = "STILLFRAME_AUDIT_READS")]
    pub audit_reads: bool,

    /// Write the audit log as JSON lines too: `stdout`, or a file
    #[arg(long, env = "STILLFRAME_AUDIT_LINES", value_parser = lines, value_name = "stdout|FILE")]
    pub audit_lines: Option<AuditLines>,

    /// Days for which the audit log is kept in the database
    #[arg(long, env = "STILLFRAME_AUDIT_DAYS", default_value_t = 90, value_parser = clap::value_parser!(u16).range(1..))]
    pub audit_days: u16,
}

fn secret(text: &str) -> Result<Secret, String> {
    match text.len() {
        0..MIN_ADMIN_KEY => Err(format!("must have at least {MIN_ADMIN_KEY} characters")),
        _ if !text.bytes().all(|b| b.is_ascii_graphic()) => Err("must consist of printable ASCII without blanks".into()),
        _ => Ok(Secret::new(text)),
    }
}

fn oidc_grant(text: &str) -> Result<(String, Grant), String> {
    // a value may hold the sign, a grant can't
    let (value, grant) = text
        .rsplit_once('=')
        .ok_or("expected VALUE=ROLE, VALUE=ROLE@DB or VALUE=ROLE@DB/COLLECTION")?;
    Ok((value.into(), Grant::parse(grant)?))
}

fn lines(text: &str) -> Result<AuditLines, String> {
    match text {
        "" => Err("expected stdout, or the path of a file".into()),
        "stdout" => Ok(AuditLines::Stdout),
        path => Ok(AuditLines::File(path.into())),
    }
}

impl SecurityArgs {
    /// Who is let in; `pages` are the origins that may read answers.
    ///
    /// # Errors
    /// What is set and has no effect, or lets in the wrong people.
    pub fn auth(&self, pages: &[String]) -> anyhow::Result<AuthSettings> {
        let oidc = self.oidc_issuer.clone().zip(self.oidc_audience.clone());
        if !self.auth {
            ensure!(self.admin_key.is_none(), "--admin-key has no effect without --auth");
            ensure!(oidc.is_none(), "--oidc-issuer has no effect without --auth");
        }
        ensure!(
            !self.auth || self.allowed_hosts.is_empty(),
            "--allowed-hosts has no effect with --auth"
        );
        let oidc = oidc.map(|(issuer, audience)| OidcSettings {
            issuer,
            audience,
            jwks_url: self.oidc_jwks_url.clone(),
            claim: self.oidc_claim.clone(),
            grants: self.oidc_grant.clone(),
            pause: OidcSettings::PAUSE,
            refresh: OidcSettings::REFRESH,
        });
        if let Some(oidc) = &oidc {
            ensure!(
                oidc.is_safe(),
                "the keys of the OpenID provider must come by https:// (or from this machine): whoever can change them on the way lets himself in"
            );
            ensure!(
                !oidc.audience.is_empty() && !oidc.claim.is_empty(),
                "--oidc-audience and --oidc-claim can't be empty"
            );
            ensure!(
                !oidc.grants.is_empty(),
                "--oidc-issuer lets nobody do anything without --oidc-grant"
            );
        }
        Ok(AuthSettings {
            required: self.auth,
            admin_key: self.admin_key.clone(),
            oidc,
            open_monitoring: self.open_metrics,
            trusted_proxies: self.trusted_proxy.clone(),
            doors: Doors {
                hosts: self.allowed_hosts.clone(),
                pages: pages.to_vec(),
            },
            audit: AuditSettings {
                reads: self.audit_reads,
                lines: self.audit_lines.clone(),
                retention_seconds: i64::from(self.audit_days) * 24 * 3600,
            },
        })
    }

    /// Files of the server's certificate; none: no TLS.
    pub fn tls(&self) -> Option<TlsSettings> {
        let (certificates, key) = self.tls_cert.clone().zip(self.tls_key.clone())?;
        Some(TlsSettings {
            certificates,
            key,
            client_authorities: self.tls_client_ca.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches as _;

    use super::*;

    fn given(line: &str) -> Result<SecurityArgs, String> {
        let command = SecurityArgs::augment_args(clap::Command::new("serve")).mut_args(|arg| arg.env(None::<&str>));
        let words = std::iter::once("serve").chain(line.split_whitespace());
        let matches = command.try_get_matches_from(words).map_err(|e| e.to_string())?;
        SecurityArgs::from_arg_matches(&matches).map_err(|e| e.to_string())
    }

    #[test]
    fn what_has_no_effect_or_lets_anybody_in_is_refused() {
        let key = "0123456789abcdef0123456789abcdef";
        for line in [
            format!("--admin-key {key}"),
            "--oidc-issuer https://x --oidc-audience y --oidc-grant a=admin".into(),
            "--auth --oidc-issuer http://id.example.com --oidc-audience y --oidc-grant a=admin".into(),
            "--auth --oidc-issuer https://x --oidc-audience y".into(),
            format!("--auth --admin-key {key} --allowed-hosts a.example"),
        ] {
            assert!(given(&line).expect("parses").auth(&[]).is_err(), "{line}");
        }
        for line in [
            "--auth --admin-key short",
            "--oidc-issuer https://x",
            "--auth --oidc-issuer https://x --oidc-audience y --oidc-grant a",
            "--auth --oidc-issuer https://x --oidc-audience y --oidc-grant a=boss",
            "--tls-cert x",
            "--tls-client-ca x",
            "--trusted-proxy x",
            "--allowed-hosts http://a.example",
            "--audit-days 0",
        ] {
            assert!(given(line).is_err(), "{line}");
        }
        let args = given(&format!(
            "--auth --admin-key {key} --oidc-issuer https://x --oidc-audience y --oidc-grant cn=a,b=reader@c --oidc-grant b=admin"
        ));
        assert!(args.is_err(), "a value without a grant");
        let args = given(&format!(
            "--auth --admin-key {key} --oidc-issuer https://x --oidc-audience y --oidc-grant cn=a=reader@c,b=admin"
        ))
        .expect("parses");
        let auth = args.auth(&[]).expect("valid");
        assert_eq!(auth.oidc.expect("set").grants[0].0, "cn=a");
        assert!(!format!("{args:?}").contains(key), "a key is never shown");
    }
}
