//! Which route a request is for: path first, then method, so that the right one of 404 and 405 is answered.

use std::borrow::Cow;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Response};

use crate::web::respond;

/// A path, how it may be asked, and what it leads to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Route<T> {
    /// Compared byte by byte with the request's path. Of routes with the same path only the first is found.
    pub path: Cow<'static, str>,
    /// How it may be asked.
    pub methods: Methods,
    /// What it leads to.
    pub target: T,
}

/// The methods of a route.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Methods {
    /// GET and HEAD: the answer changes nothing.
    Read,
    /// POST: the request has an effect.
    Post,
}

/// Why no route was found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RouteError {
    /// The path exists, but for other methods: 405.
    MethodNotAllowed(Methods),
    /// The client asks which methods there are (RFC 9110, section 9.3.7): 204.
    Options(Methods),
    /// No such path: 404.
    NotFound,
}

/// Finds the route for a request.
///
/// # Errors
///
/// The refusal to answer instead.
pub fn find<'a, T>(routes: &'a [Route<T>], method: &Method, path: &str) -> Result<&'a Route<T>, RouteError> {
    let route = routes.iter().find(|route| route.path == path).ok_or(RouteError::NotFound)?;
    if method == Method::OPTIONS {
        return Err(RouteError::Options(route.methods));
    }
    if !route.methods.allow(method) {
        return Err(RouteError::MethodNotAllowed(route.methods));
    }
    Ok(route)
}

// === impl Methods ===

impl Methods {
    /// The value of an `Allow` header.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "GET, HEAD, OPTIONS",
            Self::Post => "POST, OPTIONS",
        }
    }

    fn allow(self, method: &Method) -> bool {
        match self {
            Self::Read => method == Method::GET || method == Method::HEAD,
            Self::Post => method == Method::POST,
        }
    }
}

// === impl RouteError ===

impl RouteError {
    /// The 204, 404 or 405 to send.
    pub fn into_answer(self) -> Response<Full<Bytes>> {
        match self {
            Self::MethodNotAllowed(methods) => respond::method_not_allowed(methods.as_str()),
            Self::Options(methods) => respond::options(methods.as_str()),
            Self::NotFound => respond::not_found(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(method: Method, path: &str, expect: Result<u8, RouteError>) {
        let routes = [
            Route { path: "/".into(), methods: Methods::Read, target: 1 },
            Route { path: "/-/reload".into(), methods: Methods::Post, target: 2 },
        ];
        assert_eq!(find(&routes, &method, path).map(|route| route.target), expect);
    }

    #[test]
    fn path_first_then_method() {
        check(Method::GET, "/", Ok(1));
        check(Method::HEAD, "/", Ok(1));
        check(Method::POST, "/", Err(RouteError::MethodNotAllowed(Methods::Read)));
        check(Method::OPTIONS, "/", Err(RouteError::Options(Methods::Read)));
        check(Method::OPTIONS, "/-/reload", Err(RouteError::Options(Methods::Post)));
        check(Method::OPTIONS, "/nowhere", Err(RouteError::NotFound));
        check(Method::POST, "/-/reload", Ok(2));
        check(Method::GET, "/-/reload", Err(RouteError::MethodNotAllowed(Methods::Post)));
        check(Method::GET, "/-/reload/", Err(RouteError::NotFound));
        check(Method::POST, "/nowhere", Err(RouteError::NotFound));
    }
}
