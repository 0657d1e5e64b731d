//! The pages a person opens, and the files they load.
#![allow(clippy::unwrap_used)]

mod support;

use support::*;

#[tokio::test]
async fn the_page_of_a_room_has_a_player_for_it() {
    let server = Rendezvous::start().await;
    let reply = server.get("/r/front-door?transport=fmp4").await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(reply.body.contains(r#"<peercam-player room="front-door""#), "{}", reply.body);
    assert!(!reply.body.contains("{{"), "{}", reply.body);
}

#[tokio::test]
async fn everything_a_page_names_is_there() {
    let server = Rendezvous::start().await;
    for page in ["/", "/r/front-door"] {
        let html = server.get(page).await.body;
        let addresses: Vec<_> = html
            .split_inclusive(['\"'])
            .collect::<Vec<_>>()
            .windows(2)
            .filter(|pair| pair[0].ends_with("src=\"") || pair[0].ends_with("href=\""))
            .map(|pair| pair[1].trim_end_matches('"').to_owned())
            .collect();
        assert!(addresses.len() >= 3, "{addresses:?}");
        for address in addresses {
            assert!(address.starts_with('/'), "{page} loads {address} from elsewhere");
            assert_eq!(server.get(&address).await.status, 200, "{address}");
        }
    }
}

#[tokio::test]
async fn the_module_can_be_embedded_by_other_sites_and_is_loaded_once() {
    let server = Rendezvous::start().await;
    let first = server.get("/player.js").await;
    assert_eq!(first.header("content-type"), Some("text/javascript; charset=utf-8"));
    assert_eq!(first.header("access-control-allow-origin"), Some("*"));
    assert_eq!(first.header("cache-control"), Some("no-cache"));
    assert!(first.body.contains("define('peercam-player', PeercamPlayer)"));

    let tag = first.header("etag").unwrap();
    for known in [tag.to_owned(), format!("\"other\", W/{tag}")] {
        let again = server.get_with("/player.js", &format!("If-None-Match: {known}\r\n")).await;
        assert_eq!((again.status, again.body.as_str()), (304, ""));
        assert_eq!(again.header("etag"), Some(tag));
    }
    let changed = server.get_with("/player.js", "If-None-Match: \"other\"\r\n").await;
    assert_eq!((changed.status, changed.body), (200, first.body.clone()));
}

#[tokio::test]
async fn a_page_may_do_only_what_it_needs() {
    let server = Rendezvous::start().await;
    for address in ["/", "/r/front-door", "/r/NOT", "/nothing", "/player.js"] {
        let reply = server.get(address).await;
        let policy = reply.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"));
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(reply.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
        assert!(reply.header("permissions-policy").unwrap().contains("geolocation=()"));
    }
}

#[tokio::test]
async fn a_page_of_no_room_says_what_is_wrong_with_the_name() {
    let server = Rendezvous::start().await;
    let long = "x".repeat(10_000);
    for (name, names) in [
        ("a/b", "holds &#39;/&#39;"),
        ("a%2Fb", "holds &#39;/&#39;"),
        ("Front-Door", "holds &#39;F&#39;"),
        (long.as_str(), "10000 characters"),
        ("%22%3E%3Cscript%3E", "holds &#39;&quot;&#39;"),
        ("%3Cscript%3E", "holds &#39;&lt;&#39;"),
    ] {
        let reply = server.get(&format!("/r/{name}")).await;
        assert_eq!(reply.status, 400, "{name}");
        assert!(reply.body.contains(names), "{name}: {}", reply.body);
        assert!(!reply.body.contains("<script"), "{}", reply.body);
    }
}

#[tokio::test]
async fn an_address_that_is_nothing_says_so() {
    let server = Rendezvous::start().await;
    for address in ["/nothing", "/r/", "/index.html", "/../Cargo.toml", "/player.js/x"] {
        let reply = server.get(address).await;
        assert_eq!(reply.status, 404, "{address}");
        assert!(reply.body.contains("nothing at this address"), "{}", reply.body);
    }
}

#[tokio::test]
async fn nothing_can_be_changed_by_a_request() {
    let server = Rendezvous::start().await;
    for method in ["POST", "PUT", "DELETE"] {
        for address in ["/", "/r/front-door", "/player.js", "/api/rooms/front-door"] {
            let request = format!(
                "{method} {address} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
                 Content-Length: 2\r\n\r\n{{}}"
            );
            let reply = Reply::parse(&server.raw(request.as_bytes()).await);
            assert_eq!(reply.status, 405, "{method} {address}");
        }
    }
}

#[tokio::test]
async fn the_server_says_that_it_is_well() {
    let server = Rendezvous::start().await;
    let reply = server.get("/healthz").await;
    assert_eq!((reply.status, reply.body.as_str()), (200, "ok\n"));
}
