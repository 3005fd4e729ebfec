use std::collections::HashMap;
use std::sync::Arc;

use axum::handler::Handler;
use axum::http::{Method, StatusCode};
use axum::routing::{MethodFilter, on};
use axum::{Router, middleware};
use rbee_protocol::ApiError;
use serde_json::Value;

use crate::access::Permission;
use crate::door::{self, Access, Door};

/// What a daemon answers, each route with whom it answers.
///
/// This is the only way to a [`Router`], so that there is no route without a permission.
#[derive(Clone)]
pub struct Routes<S = ()> {
    router: Router<S>,
    table: Vec<Route>,
    shapes: HashMap<&'static str, Shape>,
}

/// How an API that is not ours says what went wrong: a status and a body of JSON.
pub type Shape = fn(&ApiError) -> (StatusCode, Value);

/// One route, as it is in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its method. A route of GET answers HEAD too.
    pub method: Method,
    /// Its path, e.g. `/v1/jobs/{id}`.
    pub path: &'static str,
    /// Whom it answers.
    pub permission: Permission,
}

impl<S: Clone + Send + Sync + 'static> Default for Routes<S> {
    fn default() -> Self {
        Self { router: Router::new(), table: Vec::new(), shapes: HashMap::new() }
    }
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    /// Adds a route, whose handler is called only for those whom `permission` names.
    ///
    /// # Panics
    /// When there is such a route already, or the method is not one of HTTP's own.
    #[must_use]
    pub fn add<H: Handler<T, S>, T: 'static>(
        mut self,
        method: Method,
        path: &'static str,
        permission: Permission,
        handler: H,
    ) -> Self {
        let filter = MethodFilter::try_from(method.clone()).expect("routes have methods of HTTP's own");
        self.router = self.router.route(path, on(filter, handler));
        self.table.push(Route { method, path, permission });
        self
    }

    /// Gives the handlers their state.
    pub fn with_state(self, state: S) -> Routes {
        Routes { router: self.router.with_state(state), table: self.table, shapes: self.shapes }
    }
}

impl Routes {
    /// Has these routes say what went wrong in another API's way.
    #[must_use]
    pub fn shaped(mut self, shape: Shape) -> Self {
        self.shapes = self.table.iter().map(|route| (route.path, shape)).collect();
        self
    }

    /// These routes and `others`.
    ///
    /// # Panics
    /// When both have the same route.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        self.router = self.router.merge(others.router);
        self.table.extend(others.table);
        self.shapes.extend(others.shapes);
        self
    }

    /// Every route that there is.
    pub fn table(&self) -> &[Route] {
        &self.table
    }

    /// The routes behind a door that lets in those whom `access` knows, each to what is for them. Pages of `origins` may
    /// ask too, as far as they have a key.
    pub fn guarded(self, access: Access, origins: Vec<String>) -> Router {
        let door = Arc::new(Door { access, origins, table: self.table, shapes: self.shapes });
        self.router.layer(middleware::from_fn_with_state(door, door::guard))
    }
}
