//! The list of hosts that may be called.

use ureq::http::Uri;

/// Ports at which a host that is listed without one may be called.
const USUAL_PORTS: [u16; 2] = [80, 443];

/// Hosts, each as `host` for ports 80 and 443, or as `host:port` for another one.
#[derive(Debug, Clone)]
pub(super) struct Hosts(Vec<String>);

/// Why an address may not be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum HostError {
    /// It does not begin with http:// or https://.
    Scheme,
    /// It has no host.
    NoHost,
    /// It has a user name.
    UserName,
    /// Its host, named here as it would be listed, is not on the list.
    Unlisted(String),
}

impl Hosts {
    pub fn new(listed: &[String]) -> Self {
        Self(listed.iter().map(|host| host.to_ascii_lowercase()).collect())
    }

    /// May this address be called?
    pub fn check(&self, uri: &Uri) -> Result<(), HostError> {
        let default = match uri.scheme_str() {
            Some("http") => 80,
            Some("https") => 443,
            _ => return Err(HostError::Scheme),
        };
        let authority = uri.authority().ok_or(HostError::NoHost)?;
        if authority.as_str().contains('@') {
            return Err(HostError::UserName);
        }
        let (host, port) = (authority.host().to_ascii_lowercase(), authority.port_u16().unwrap_or(default));
        let usual = USUAL_PORTS.contains(&port);
        let whole = format!("{host}:{port}");
        if self.0.iter().any(|known| *known == whole || (usual && *known == host)) {
            return Ok(());
        }
        Err(HostError::Unlisted(if usual { host } else { whole }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_matched_whole() {
        let hosts = Hosts::new(&["img.example".to_owned(), "CDN.example:8443".to_owned()]);
        for url in [
            "http://img.example/a",
            "https://IMG.example/a",
            "https://img.example:443/a",
            "http://img.example:443/a",
            "https://cdn.example:8443/",
        ] {
            assert_eq!(hosts.check(&url.parse().unwrap()), Ok(()), "{url}");
        }
        for (url, error) in [
            ("http://img.example:8080/a", HostError::Unlisted("img.example:8080".to_owned())),
            ("https://cdn.example/", HostError::Unlisted("cdn.example".to_owned())),
            ("http://img.example.evil/", HostError::Unlisted("img.example.evil".to_owned())),
            ("http://evil.img.example/", HostError::Unlisted("evil.img.example".to_owned())),
            ("http://user@img.example/", HostError::UserName),
            ("ftp://img.example/", HostError::Scheme),
            ("/a", HostError::Scheme),
        ] {
            assert_eq!(hosts.check(&url.parse().unwrap()), Err(error), "{url}");
        }
    }
}
