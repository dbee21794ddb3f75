//! How many bytes the files have that are a tenant's alone.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use traaviis_model::TenantCtx;

/// Returns the bytes of a tenant's large values, and those of its archive.
pub fn weigh_files(data: &Path, ctx: &TenantCtx) -> io::Result<(u64, u64)> {
    let tenant = data.join("tenants").join(ctx.tenant().to_string());
    Ok((weigh(tenant.join("blobs"))?, weigh(tenant.join("archived"))?))
}

/// Returns the bytes of all files below a directory; what goes meanwhile weighs nothing.
fn weigh(dir: PathBuf) -> io::Result<u64> {
    let (mut dirs, mut bytes) = (vec![dir], 0);
    while let Some(dir) = dirs.pop() {
        let entries = match fs::read_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            match entry.metadata() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Ok(it) if it.is_dir() => dirs.push(entry.path()),
                it => bytes += it?.len(),
            }
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_weighs_its_own_files_and_none_of_others() {
        let dir = tempfile::tempdir().unwrap();
        let (here, there) = (TenantCtx::for_test(7), TenantCtx::for_test(8));
        assert_eq!(weigh_files(dir.path(), &here).unwrap(), (0, 0));
        let put = |ctx: &TenantCtx, path: &str, bytes: usize| {
            let path = dir.path().join(format!("tenants/{}/{path}", ctx.tenant()));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, vec![b'x'; bytes]).unwrap();
        };
        put(&here, "blobs/ab/1", 100);
        put(&here, "blobs/cd/2", 20);
        put(&here, "archived/instances/012345/3.json.gz", 3);
        put(&here, "config.json", 1_000);
        put(&there, "blobs/ab/1", 7);
        assert_eq!(weigh_files(dir.path(), &here).unwrap(), (120, 3));
        assert_eq!(weigh_files(dir.path(), &there).unwrap(), (7, 0));
    }
}
