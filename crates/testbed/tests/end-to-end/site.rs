//! A web server of somebody else: another origin than the camera's server.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

pub const JAVASCRIPT: &str = "text/javascript";

/// Serves one page at all addresses but those of its files.
pub struct Site {
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

/// Address, content type, text.
type File = (&'static str, &'static str, String);

impl Site {
    pub async fn start(page: &str, files: impl IntoIterator<Item = File>) -> Self {
        let files: Vec<_> = files.into_iter().collect();
        let page = page.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A browser that hangs up is none of our business.
                _ = serve(stream, &page, &files).await;
            }
        });
        Self { address, task }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, page: &str, files: &[File]) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < 16 * 1024 {
        head.push(stream.read_u8().await?);
    }
    let wanted = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    let file = files.iter().find(|(path, ..)| path.as_bytes() == wanted);
    let (kind, body) = file.map_or(("text/html", page), |(_, kind, body)| (kind, body));
    let length = body.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}
