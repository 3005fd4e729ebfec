//! The description of what a daemon answers, as OpenAPI 3.1. What belongs to one route stands with its handler;
//! what the door answers for all of them is added here.

use rbee_protocol::ErrorBody;
use utoipa::OpenApi as _;
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    Components, ContentBuilder, Header, InfoBuilder, LicenseBuilder, OpenApi, PathItem, Ref, RefOr, Response,
};
use utoipa::{PartialSchema, ToSchema};

use crate::http::JobApi;

/// The name of the one way to prove who one is.
const KEY: &str = "key";

/// The description of the job API and of `own`, the routes that the daemon has besides, in JSON.
pub fn describe(own: OpenApi) -> String {
    let mut all = JobApi::openapi().merge_from(own);
    all.info = InfoBuilder::new()
        .title("rbee")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "A private LLM service. Every request is a job with a stream of its own. docs/protocol.md in the \
             repository tells how it is meant to be used. Fields, event kinds and values may be added within \
             this version: ignore those that you do not know.",
        ))
        .license(Some(
            LicenseBuilder::new().name("MIT OR Apache-2.0").identifier(Some("MIT OR Apache-2.0")).build(),
        ))
        .build();
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("A key, as `rbee key create` makes one; the operator's own is in operator.key."))
        .build();
    let components = all.components.get_or_insert_with(Components::new);
    components.security_schemes.insert(KEY.to_owned(), RefOr::T(SecurityScheme::Http(bearer)));
    all.security = Some(vec![SecurityRequirement::new(KEY, Vec::<String>::new())]);
    all.paths.paths.values_mut().flat_map(operations).for_each(add_what_the_door_answers);

    let mut json = serde_json::to_value(&all).expect("a description is plain data");
    // The order of what examples hold must not depend on how serde_json was built.
    json.sort_all_objects();
    format!("{json:#}\n")
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, put, post, delete, options, head, patch, trace, .. } = item;
    [get, put, post, delete, options, head, patch, trace].into_iter().flatten()
}

fn add_what_the_door_answers(operation: &mut Operation) {
    let mut add = |status: &str, description: &str| {
        let missing = || RefOr::T(Response::new(description));
        operation.responses.responses.entry(status.to_owned()).or_insert_with(missing);
    };
    add("429", "`busy`: there are too many connections.");
    add("403", "`denied`: the request is for another host, from a page of another origin, or for operators.");
    if operation.security.is_none() {
        add("401", "`unauthorized`: the request carries no key that is known.");
    }
    if operation.request_body.is_some() {
        add("400", "`bad_request`: the body makes no sense.");
        add("408", "`timeout`: the body did not arrive in time.");
        add("413", "`too_large`: the body is over 4 MiB.");
        add("415", "`unsupported_media_type`: the body is not announced as JSON.");
    }
    // Other APIs say in their own words what went wrong.
    let tags = operation.tags.iter().flatten();
    let is_ours = tags.clone().any(|tag| ["jobs", "daemon", "keys"].contains(&tag.as_str()));
    for (status, response) in &mut operation.responses.responses {
        if let RefOr::T(response) = response
            && !status.starts_with('2')
        {
            describe_failure(status, response, is_ours);
        }
    }
}

fn describe_failure(status: &str, response: &mut Response, is_ours: bool) {
    let schema: RefOr<Schema> = if is_ours {
        Ref::from_schema_name(ErrorBody::name()).into()
    } else {
        ObjectBuilder::new().schema_type(Type::Object).build().into()
    };
    let content = ContentBuilder::new().schema(Some(schema)).build();
    response.content.insert("application/json".to_owned(), content.into());
    let (name, schema) = match status {
        "401" => ("WWW-Authenticate", String::schema()),
        // In seconds.
        "429" => ("Retry-After", u64::schema()),
        _ => return,
    };
    response.headers.insert(name.to_owned(), Header::new(schema).into());
}
