//! Routes, each described once: the router, the roles that the guard asks for, the parameters that are known, and
//! `schemas/openapi.json` are all made of the same descriptions, so that none of them can say something else.

use std::borrow::Cow;

use axum::Router;
use axum::handler::Handler;
use axum::http::{Method, StatusCode};
use axum::routing::{MethodFilter, on};
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::routes::Backend;
use crate::model::Role;

/// Makes the schema of a type, and notes it and those that it uses in the generator.
pub type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// One method of one path.
#[derive(Clone, Debug)]
pub struct Route {
    pub method: Method,
    /// With its variables in braces: `/v1/deployments/{name}`.
    pub path: Cow<'static, str>,
    /// The least role that a caller needs; `None` where no caller has to be known.
    pub role: Option<Role>,
    /// Whether what answers it judges by itself what a token that is bound to pools may change. All other routes that
    /// change something are closed to such tokens.
    pub judges_pools: bool,
    /// What it does, in a sentence for whoever writes a program against it.
    pub about: &'static str,
    /// The query parameters that it takes.
    pub parameters: Vec<Parameter>,
    /// The headers that it minds beside those of every route.
    pub headers: Vec<(&'static str, &'static str)>,
    /// Whether other query parameters are accepted: a webhook's sender adds its own.
    pub any_parameters: bool,
    /// The JSON that it takes.
    pub body: Option<SchemaOf>,
    pub answers: Vec<Answer>,
    /// What it sends as server-sent events to who accepts them.
    pub stream: Option<&'static str>,
}

/// A query parameter.
#[derive(Clone, Debug)]
pub struct Parameter {
    pub name: Cow<'static, str>,
    pub about: &'static str,
    pub schema: SchemaOf,
}

/// What a route answers with one status.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub about: &'static str,
    /// `None` where the body is text, or there is none.
    pub json: Option<SchemaOf>,
}

impl Route {
    pub fn get(path: impl Into<Cow<'static, str>>, about: &'static str) -> Route {
        Route::of(Method::GET, path, Role::Viewer, about)
    }

    pub fn post(path: impl Into<Cow<'static, str>>, about: &'static str) -> Route {
        Route::of(Method::POST, path, Role::Editor, about)
    }

    pub fn delete(path: impl Into<Cow<'static, str>>, about: &'static str) -> Route {
        Route::of(Method::DELETE, path, Role::Editor, about)
    }

    fn of(method: Method, path: impl Into<Cow<'static, str>>, role: Role, about: &'static str) -> Route {
        Route {
            method,
            path: path.into(),
            role: Some(role),
            judges_pools: false,
            about,
            parameters: Vec::new(),
            headers: Vec::new(),
            any_parameters: false,
            body: None,
            answers: Vec::new(),
            stream: None,
        }
    }

    /// For another role than the usual one of its method.
    pub fn needs(self, role: Role) -> Route {
        Route { role: Some(role), ..self }
    }

    /// Judges by itself what a token that is bound to pools may change.
    pub fn judges_pools(self) -> Route {
        Route { judges_pools: true, ..self }
    }

    /// Whether it can change anything: what a viewer may do does not.
    pub fn changes(&self) -> bool {
        !matches!(self.method, Method::GET | Method::HEAD) && self.role != Some(Role::Viewer)
    }

    /// Without a known caller, and with whatever parameters.
    pub fn open(self) -> Route {
        Route { role: None, ..self }
    }

    pub fn any_parameters(self) -> Route {
        Route { any_parameters: true, ..self }
    }

    pub fn takes<T: JsonSchema>(self) -> Route {
        Route { body: Some(|generator| generator.subschema_for::<T>()), ..self }
    }

    pub fn parameter<T: JsonSchema>(mut self, name: &'static str, about: &'static str) -> Route {
        self.parameters.push(Parameter {
            name: name.into(),
            about,
            schema: |generator| generator.subschema_for::<T>(),
        });
        self
    }

    /// A header that may be sent, and what it does.
    pub fn header(mut self, name: &'static str, about: &'static str) -> Route {
        self.headers.push((name, about));
        self
    }

    /// 200 with JSON of this type.
    pub fn gives<T: JsonSchema>(self) -> Route {
        self.answers::<T>(StatusCode::OK, "As it is now")
    }

    /// A status with JSON of this type. An error's JSON stands beside the members of a problem.
    pub fn answers<T: JsonSchema>(mut self, status: StatusCode, about: &'static str) -> Route {
        self.answers.push(Answer { status, about, json: Some(|generator| generator.subschema_for::<T>()) });
        self
    }

    /// 200 also as server-sent events.
    pub fn streams(self, about: &'static str) -> Route {
        Route { stream: Some(about), ..self }
    }

    /// A status with a text, with nothing, or with a problem.
    pub fn says(mut self, status: StatusCode, about: &'static str) -> Route {
        self.answers.push(Answer { status, about, json: None });
        self
    }
}

/// Routes and what serves them.
pub struct Routes<B> {
    router: Router<B>,
    all: Vec<Route>,
}

impl<B: Backend> Routes<B> {
    pub(in crate::api) fn new() -> Routes<B> {
        Routes { router: Router::new(), all: Vec::new() }
    }

    /// One more route, answered by `handler`.
    pub fn add<H: Handler<T, B>, T: 'static>(mut self, route: Route, handler: H) -> Routes<B> {
        // The methods of `Route` have a filter.
        let filter = MethodFilter::try_from(route.method.clone()).unwrap_or(MethodFilter::GET);
        self.router = self.router.route(&route.path, on(filter, handler));
        self.all.push(route);
        self
    }

    pub fn merge(mut self, other: Routes<B>) -> Routes<B> {
        self.router = self.router.merge(other.router);
        self.all.extend(other.all);
        self
    }

    /// What serves them, and all that is known of them.
    pub fn into_parts(self) -> (Router<B>, Vec<Route>) {
        (self.router, self.all)
    }
}

impl Route {
    /// Of `routes`, the one of a request whose path the router found. HEAD is answered by what answers GET.
    pub fn find<'a>(routes: &'a [Route], method: &Method, path: &str) -> Option<&'a Route> {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        routes.iter().find(|route| route.method == *method && route.path == path)
    }
}
