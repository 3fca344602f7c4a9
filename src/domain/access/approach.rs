//! What strangers may not make a browser send. A service without authentication trusts whoever reaches it, and a
//! browser on a machine that does carries requests of any page that is open in it:
//!
//! - a page may send "simple" requests anywhere without asking, and never sees the answer, but the call is made. The
//!   browser names the page (`Origin`, `Sec-Fetch-Site`), so such calls are told apart.
//! - a page may let its own name lead to the service (DNS rebinding). For the browser it is then one with the service,
//!   and reads answers too. What it can't change is the name in `Host`.
//!
//! With authentication none of this matters: a browser adds no API key by itself.

use std::net::IpAddr;

use crate::domain::{Code, Result};

/// What a request says of where it came from.
#[derive(Debug, Clone, Default)]
pub struct Approach {
    /// The names under which the service was asked for, each `host` or `host:port`; none of a client that names none,
    /// which no browser is.
    pub hosts: Vec<String>,
    /// The page that sent it, as `scheme://host[:port]` or `null`.
    pub origins: Vec<String>,
    /// How that page is related to the service, in the words of the browser.
    pub fetch_sites: Vec<String>,
    /// The call may change something.
    pub changes: bool,
}

impl Approach {
    /// Reads a request. `authority` is that of its URI, which HTTP/2 and proxies send; `header` gives the values of a
    /// header by its name.
    pub fn new(changes: bool, authority: Option<&str>, header: impl Fn(&'static str) -> Vec<String>) -> Self {
        let mut hosts: Vec<String> = authority.map(str::to_string).into_iter().collect();
        hosts.extend(header("host"));
        Self {
            hosts,
            origins: header("origin"),
            fetch_sites: header("sec-fetch-site"),
            changes,
        }
    }
}

/// Names under which the service may be asked for, and pages that may call it, where there is no authentication.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Doors {
    /// `name`, `*.name` for everything below a name, or `*`.
    pub hosts: Vec<String>,
    /// Origins, or `*`.
    pub pages: Vec<String>,
}

impl Doors {
    /// Judges a request.
    ///
    /// # Errors
    /// `host_not_allowed`, `cross_site_request`.
    pub fn judge(&self, approach: &Approach) -> Result<()> {
        if let Some(host) = approach.hosts.iter().find(|host| !self.knows(host)) {
            return Err(Code::HostNotAllowed.error(format!(
                "this service has no authentication and does not know itself as {host:?}: a page whose name leads here could ask for it so; \
                 use its address, name it in --allowed-hosts, or turn on --auth"
            )));
        }
        if !approach.changes {
            return Ok(());
        }
        if let Some(origin) = approach.origins.iter().find(|origin| !self.lets_in(origin, &approach.hosts)) {
            return Err(Code::CrossSiteRequest.error(format!(
                "a page of {origin:?} may change nothing here; name it in --cors-origins, or turn on --auth"
            )));
        }
        // a browser that says how the page is related, and not which it is
        let foreign = |site: &&String| !matches!(site.as_str(), "same-origin" | "none");
        if approach.origins.is_empty() && approach.fetch_sites.iter().any(|site| foreign(&site)) {
            return Err(Code::CrossSiteRequest.error("a page of another origin may change nothing here; turn on --auth"));
        }
        Ok(())
    }

    /// Whether a name can't be one that a stranger lets lead here: an address, a name of this machine or of the network
    /// (public names have dots), or one of the settings.
    fn knows(&self, host: &str) -> bool {
        let Some(name) = name_of(host) else { return false };
        let is_local = name == "localhost" || name.ends_with(".localhost") || !name.contains('.');
        is_address(&name) || is_local || self.hosts.iter().any(|known| fits(known, &name))
    }

    fn lets_in(&self, origin: &str, hosts: &[String]) -> bool {
        if self.pages.iter().any(|page| page == "*" || page.eq_ignore_ascii_case(origin)) {
            return true;
        }
        // a page of this service itself, such as /docs
        let Some((scheme, authority)) = origin.split_once("://") else {
            return false;
        };
        let port = if scheme == "https" { ":443" } else { ":80" };
        let whole = |text: &str| text.strip_suffix(port).unwrap_or(text).to_ascii_lowercase();
        hosts.iter().any(|host| whole(host) == whole(authority))
    }
}

/// The name in `host[:port]`, in small letters and without the dot at its end; none for what is neither.
fn name_of(host: &str) -> Option<String> {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(|p| p.bytes().all(|b| b.is_ascii_digit()));
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let fit = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b));
    (is_port && fit).then_some(name)
}

fn is_address(name: &str) -> bool {
    name.parse::<IpAddr>().is_ok()
}

/// Whether a name is one of the settings.
fn fits(known: &str, name: &str) -> bool {
    match known.strip_prefix('*') {
        Some("") => true,
        Some(below) => name.len() > below.len() && name.ends_with(&below.to_ascii_lowercase()),
        None => known.eq_ignore_ascii_case(name),
    }
}

/// Reads a name of the settings.
///
/// # Errors
/// One sentence.
pub fn allowed_host(text: &str) -> std::result::Result<String, String> {
    let name = text.strip_prefix("*.").unwrap_or(text);
    let fit = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if text == "*" || fit {
        Ok(text.to_string())
    } else {
        Err("expected a name without a port, *.name for everything below it, or * for any".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doors() -> Doors {
        Doors {
            hosts: vec!["snapshots.example.com".into(), "*.svc.cluster.local".into()],
            pages: vec!["https://dashboard.example.com".into()],
        }
    }

    fn asked(host: &str) -> Approach {
        Approach {
            hosts: vec![host.into()],
            changes: true,
            ..Approach::default()
        }
    }

    fn code(doors: &Doors, approach: &Approach) -> Option<Code> {
        doors.judge(approach).err().map(|e| e.code())
    }

    #[test]
    fn a_name_that_a_stranger_may_let_lead_here_is_not_known() {
        for host in [
            "localhost",
            "LOCALHOST:19530",
            "localhost.",
            "a.localhost:1",
            "127.0.0.1:19530",
            "[::1]:19530",
            "10.1.2.3:80",
            "stillframe:19530",
            "snapshots.example.com:443",
            "stillframe.default.svc.cluster.local:19530",
        ] {
            assert_eq!(code(&doors(), &asked(host)), None, "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:19530",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "127.0.0.1.nip.io",
            "evilsnapshots.example.com",
            "svc.cluster.local",
            "xsvc.cluster.local",
            "a@localhost",
            "localhost:1:2",
            "localhost:port",
            "[::1",
            "",
            ":19530",
            "local host",
        ] {
            assert_eq!(code(&doors(), &asked(host)), Some(Code::HostNotAllowed), "{host}");
        }
        let two = Approach {
            hosts: vec!["localhost".into(), "evil.example".into()],
            ..Approach::default()
        };
        assert_eq!(code(&doors(), &two), Some(Code::HostNotAllowed), "every name is looked at");
        assert_eq!(code(&Doors::default(), &Approach::default()), None, "no browser names none");
        let any = Doors {
            hosts: vec!["*".into()],
            ..Doors::default()
        };
        assert_eq!(code(&any, &asked("evil.example")), None);
    }

    #[test]
    fn a_page_of_a_stranger_changes_nothing() {
        let from = |origin: &str| Approach {
            origins: vec![origin.into()],
            fetch_sites: vec!["cross-site".into()],
            ..asked("127.0.0.1:19530")
        };
        for origin in ["http://127.0.0.1:19530", "https://dashboard.example.com"] {
            assert_eq!(code(&doors(), &from(origin)), None, "{origin}");
        }
        for origin in [
            "https://evil.example",
            "null",
            "",
            "http://127.0.0.1",
            "http://127.0.0.1:3000",
            "http://localhost:19530",
            "http://dashboard.example.com",
        ] {
            assert_eq!(code(&doors(), &from(origin)), Some(Code::CrossSiteRequest), "{origin}");
            let reads = Approach {
                changes: false,
                ..from(origin)
            };
            assert_eq!(code(&doors(), &reads), None, "{origin} may send, and not read the answer");
        }
        for (site, taken) in [
            ("none", true),
            ("same-origin", true),
            ("same-site", false),
            ("cross-site", false),
        ] {
            let said = Approach {
                fetch_sites: vec![site.into()],
                ..asked("localhost")
            };
            assert_eq!(code(&doors(), &said).is_none(), taken, "{site}");
        }
        let standard_port = Approach {
            origins: vec!["https://snapshots.example.com".into()],
            ..asked("snapshots.example.com:443")
        };
        assert_eq!(code(&doors(), &standard_port), None);
    }

    #[test]
    fn names_of_the_settings_have_no_port() {
        for good in ["a", "a.b", "*.a.b", "*"] {
            assert!(allowed_host(good).is_ok(), "{good}");
        }
        for bad in ["", "*.", "a:1", "http://a", "a*b", "*a"] {
            assert!(allowed_host(bad).is_err(), "{bad}");
        }
    }
}
