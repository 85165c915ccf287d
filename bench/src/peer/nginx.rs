//! Debian's nginx, set up as somebody would who wants the same of it.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::{Origin, Program, Work, free_address};
use crate::Outcome;
use crate::load::{key, path};

/// A running nginx in a folder of its own; stopped when dropped.
pub struct Nginx {
    program: Program,
    pub address: SocketAddr,
    _folder: TempDir,
}

impl Nginx {
    pub fn start(origin: &Origin, work: Work) -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        let address = free_address()?;
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, configuration(folder.path(), address, origin.address, work))?;
        let mut command = Command::new("nginx");
        command.arg("-p").arg(folder.path()).arg("-c").arg(&file);
        Ok(Self { program: Program::start(&mut command, "nginx-light")?, address, _folder: folder })
    }

    pub fn pid(&self) -> u32 {
        self.program.pid()
    }
}

/// One exact location for each route, connections to the backend kept open, no access log, the
/// headers that Gantry adds; limits far above what is measured.
fn configuration(folder: &Path, address: SocketAddr, origin: SocketAddr, work: Work) -> String {
    let Work { workers, routes, plugins, .. } = work;
    let guarded = plugins.authenticate();
    let folder = folder.display();
    let mut text = format!(
        "daemon off;\nworker_processes {workers};\npid {folder}/pid;\nerror_log {folder}/error.log;\n\
         events {{ worker_connections 4096; }}\nhttp {{\naccess_log off;\nkeepalive_requests 1000000000;\n\
         client_body_temp_path {folder}/body;\nproxy_temp_path {folder}/proxy;\n\
         fastcgi_temp_path {folder}/fastcgi;\nuwsgi_temp_path {folder}/uwsgi;\nscgi_temp_path {folder}/scgi;\n\
         upstream origin {{ server {origin}; keepalive 256; keepalive_requests 1000000000; }}\n\
         proxy_http_version 1.1;\nproxy_set_header Connection \"\";\nproxy_set_header Host $host;\n\
         proxy_set_header X-Real-IP $remote_addr;\n\
         proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n"
    );
    if guarded {
        let key = key(0);
        let _ = write!(
            text,
            "map $http_apikey $consumer {{ default \"\"; \"{key}\" bench; }}\n\
             limit_req_zone $binary_remote_addr zone=all:10m rate=1000000r/s;\n\
             limit_req zone=all burst=1000000 nodelay;\n"
        );
    }
    let _ = writeln!(text, "server {{\nlisten {address};");
    if guarded {
        text.push_str("if ($consumer = \"\") { return 401; }\n");
    }
    for route in 0..routes {
        let _ = writeln!(text, "location = {} {{ proxy_pass http://origin; }}", path(route));
    }
    text.push_str("location / { return 404; }\n}\n}\n");
    text
}
