//! Host and Origin: no DNS rebinding, no writes from other sites' pages.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::{self, Problem};
use crate::config::app::AppSettings;

/// The host names and origins that are allowed.
#[derive(Debug, Clone)]
pub struct Guard {
    hosts: Vec<String>,
    origins: Vec<String>,
    any_address: bool,
}

impl Guard {
    /// The rules that follow from the settings.
    pub fn new(settings: &AppSettings) -> Self {
        let host = settings.host.trim_matches(['[', ']']).to_ascii_lowercase();
        let any_address = host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified());
        let mut hosts = vec![host];
        let advertised = settings.advertise.strip_prefix("http://").and_then(host_name);
        hosts.extend(advertised.map(str::to_ascii_lowercase));
        hosts.extend(settings.allowed_hosts.iter().map(|host| host.to_ascii_lowercase()));
        let origins = settings.allowed_origins.iter().map(|o| o.trim_end_matches('/').to_ascii_lowercase()).collect();
        Self { hosts, origins, any_address }
    }

    fn knows_host(&self, host: &str) -> bool {
        // A server on every address is reached by addresses that it cannot know; rebinding needs a name.
        let address = host.parse::<IpAddr>().ok();
        let loopback =
            address.is_some_and(|ip| ip.is_loopback()) || host == "localhost" || host.ends_with(".localhost");
        loopback || (self.any_address && address.is_some()) || self.hosts.iter().any(|known| known == host)
    }

    fn check(&self, request: &Request) -> Result<(), Problem> {
        // No name that this program knows holds one, and no database could look it up.
        if request.uri().path_and_query().is_some_and(|address| address.as_str().contains("%00")) {
            return Err(Problem::new(problem::BAD_REQUEST, "the URL contains a NUL character (%00)"));
        }
        let authority = authority(request)?;
        if !host_name(&authority).is_some_and(|host| self.knows_host(host)) {
            let detail =
                format!("the Host header is `{}`, which is not an allowed host; see allowed_hosts", shown(&authority));
            return Err(Problem::new(problem::FORBIDDEN_HOST, detail));
        }
        if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
            return Ok(());
        }
        match origin(request.headers()) {
            Origin::None => Ok(()),
            Origin::Site(origin) if self.may_write(&origin, &authority) => Ok(()),
            Origin::Site(origin) => Err(foreign(&origin)),
            Origin::Foreign => Err(foreign("another site")),
        }
    }

    fn may_write(&self, origin: &str, authority: &str) -> bool {
        let own = origin
            .split_once("://")
            .is_some_and(|(scheme, rest)| ["http", "https"].contains(&scheme) && rest == authority);
        own || self.origins.iter().any(|known| known == origin)
    }
}

fn foreign(origin: &str) -> Problem {
    let detail = format!("the request comes from a page of {}; see allowed_origins", shown(origin));
    Problem::new(problem::FORBIDDEN_ORIGIN, detail)
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(100).collect()
}

/// Whom a request names, in lower case: one name, and the same one in its address where that holds one (RFC 9112, 3.2).
fn authority(request: &Request) -> Result<String, Problem> {
    let refuse = |detail: &str| Problem::new(problem::BAD_REQUEST, detail);
    let mut named = request.headers().get_all(header::HOST).iter();
    let first = named.next().map(|value| value.to_str().unwrap_or("?").to_ascii_lowercase());
    if named.next().is_some() {
        return Err(refuse("the request has more than one Host header"));
    }
    let asked = request.uri().authority().map(|authority| authority.as_str().to_ascii_lowercase());
    match (first, asked) {
        (Some(named), Some(asked)) if named != asked => {
            Err(refuse("the Host header and the request's address name different hosts"))
        }
        (named, asked) => Ok(named.or(asked).unwrap_or_default()),
    }
}

/// The name without port, brackets and the dot of the root; none where it is neither a name nor an address.
fn host_name(authority: &str) -> Option<&str> {
    let (name, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            address.parse::<std::net::Ipv6Addr>().ok()?;
            (address, port)
        }
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let digits = port.strip_prefix(':').unwrap_or(port);
    let is_port = port.is_empty() || (digits.len() < port.len() && digits.bytes().all(|byte| byte.is_ascii_digit()));
    let is_named = !authority.starts_with('[');
    let fits = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    let name = if is_named { name.strip_suffix('.').unwrap_or(name) } else { name };
    (is_port && (!is_named || fits(name))).then_some(name)
}

enum Origin {
    /// No browser, or an old one.
    None,
    /// The page's origin.
    Site(String),
    /// The browser says that it is another site's, without naming it.
    Foreign,
}

fn origin(headers: &HeaderMap) -> Origin {
    if let Some(origin) = headers.get(header::ORIGIN) {
        return Origin::Site(origin.to_str().unwrap_or("null").trim_end_matches('/').to_ascii_lowercase());
    }
    match headers.get("sec-fetch-site").and_then(|site| site.to_str().ok()) {
        Some("cross-site" | "same-site") => Origin::Foreign,
        _ => Origin::None,
    }
}

/// Refuses requests under foreign names and writes of foreign pages.
pub async fn guard(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    match guard.check(&request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::host_name;

    #[test]
    fn a_host_is_a_name_or_an_address_and_nothing_more() {
        for (sent, name) in [
            ("localhost", Some("localhost")),
            ("localhost.", Some("localhost")),
            ("localhost:8080", Some("localhost")),
            ("127.0.0.1:8080", Some("127.0.0.1")),
            ("[::1]", Some("::1")),
            ("[::1]:8080", Some("::1")),
            ("", Some("")),
            ("[::1]evil.example", None),
            ("[::1]:80evil", None),
            ("[evil]", None),
            ("localhost:evil", None),
            ("localhost@evil", None),
            ("localhost evil", None),
            ("a:b:c", None),
        ] {
            assert_eq!(host_name(sent), name, "{sent}");
        }
    }
}
