//! The paths of the exporter, as it serves them and as clients see them behind a reverse proxy.

use url::Url;

/// `--web.external-url` and `--web.route-prefix`, which have the same meaning as in Prometheus.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct UrlPrefix {
    external: Option<Url>,
    /// Prepended to every path that is served. Has no trailing slash.
    prefix: String,
}

// === impl UrlPrefix ===

impl UrlPrefix {
    /// Without a `prefix`, the path of the external URL is the prefix.
    pub fn new(external: Option<Url>, prefix: Option<&str>) -> Self {
        let prefix = prefix.or(external.as_ref().map(Url::path)).unwrap_or_default();
        let prefix = match prefix.trim_matches('/') {
            "" => String::new(),
            prefix => format!("/{prefix}"),
        };
        Self { external, prefix }
    }

    pub fn add(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    /// Removes the prefix. `None` if the path is not below it.
    pub fn strip<'a>(&self, path: &'a str) -> Option<&'a str> {
        path.strip_prefix(&*self.prefix).filter(|path| path.starts_with('/'))
    }

    /// Where to redirect a request for the host alone, or for the prefix without a trailing slash.
    pub fn redirect(&self, path: &str) -> Option<String> {
        (!self.prefix.is_empty() && (path == "/" || path == self.prefix)).then(|| self.add("/"))
    }

    /// The path as clients see it.
    pub fn external(&self, path: &str) -> String {
        self.external
            .as_ref()
            .map_or_else(|| self.add(path), |url| format!("{}{path}", url.path().trim_end_matches('/')))
    }

    /// Scheme, and host and port, of the external URL.
    pub fn origin(&self) -> Option<(&str, String)> {
        let url = self.external.as_ref()?;
        // Prometheus 3 adds no port of its own.
        Some((url.scheme(), format!("{}:{}", url.host_str()?, url.port_or_known_default()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_as_in_prometheus() {
        let check = |external: Option<&str>,
                     prefix: Option<&str>,
                     inside: &str,
                     outside: &str,
                     origin: Option<(&str, &str)>| {
            let prefix = UrlPrefix::new(external.map(|url| url.parse().unwrap()), prefix);
            assert_eq!(prefix.strip(inside), Some("/sd"), "{external:?} {prefix:?}");
            assert_eq!(prefix.external("/probe"), outside, "{external:?} {prefix:?}");
            assert_eq!(prefix.origin(), origin.map(|(scheme, host)| (scheme, host.to_owned())));
        };
        check(None, None, "/sd", "/probe", None);
        check(None, Some("/"), "/sd", "/probe", None);
        check(None, Some("a/b/"), "/a/b/sd", "/a/b/probe", None);
        check(Some("https://x"), None, "/sd", "/probe", Some(("https", "x:443")));
        check(Some("http://x:8080/q/"), None, "/q/sd", "/q/probe", Some(("http", "x:8080")));
        check(Some("https://[::1]/q"), Some("/"), "/sd", "/q/probe", Some(("https", "[::1]:443")));
        check(Some("https://x/q"), Some("/inner"), "/inner/sd", "/q/probe", Some(("https", "x:443")));
    }

    #[test]
    fn what_is_not_below_the_prefix_is_not_there() {
        let prefix = UrlPrefix::new(None, Some("/q"));
        for path in ["/sd", "/", "/q", "/qsd", "/Q/sd", "//q/sd", "q/sd", ""] {
            assert_eq!(prefix.strip(path), None, "{path}");
        }
        assert_eq!(
            ["/", "/q", "/q/", "/sd"].map(|path| prefix.redirect(path)),
            [Some("/q/".into()), Some("/q/".into()), None, None]
        );
        assert_eq!(UrlPrefix::default().redirect("/"), None);
    }
}
