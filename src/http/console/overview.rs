//! `GET /console`: how the server is doing.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use maud::html;

use crate::http::access::Admitted;
use crate::http::v1::nodes::NodeView;
use crate::http::{App, body};

use super::section::Section;
use super::{Page, STEPS, answer, facts, words};

pub(in crate::http) async fn handle(State(app): State<Arc<App>>, admitted: Admitted, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    body::discard(&parts, body).await;
    answer(&app, &admitted, Ok(page(&app)))
}

fn page(app: &App) -> Page {
    let node = NodeView::of(app);
    let content = html! {
        h1 { "Overview" }
        div.columns #node data-live {
            section aria-labelledby="load" {
                h2 #load { "Load" }
                (facts(&[
                    ("Live sessions", Some(html! { (words::number(node.sessions_live as u64)) })),
                    ("Agents", Some(html! { (node.agents_running) " of " (node.max_running) })),
                    ("In the queue", Some(html! { (words::number(node.queued as u64)) })),
                    ("Memory of the server", node.memory_bytes.map(|bytes| html! { (words::bytes(bytes)) })),
                    ("Up for", Some(html! { (words::seconds(node.uptime_seconds)) })),
                ]))
            }
        }
    };
    Page { title: "Overview".into(), section: Section::Overview, stream: Some(STEPS.into()), content }
}
