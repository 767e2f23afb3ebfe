package devstack

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
)

// oldestPostgres is the first version with everything the schema uses: numeric infinity, which
// the CHECKs exclude, came with 14.
const oldestPostgres = 14

// usualFolders are where packages install Postgres without adding it to PATH.
var usualFolders = []string{
	"/usr/lib/postgresql/*/bin",         // Debian, Ubuntu
	"/usr/pgsql-*/bin",                  // Red Hat, from postgresql.org
	"/usr/local/pgsql/bin",              // built from source
	"/opt/homebrew/opt/postgresql*/bin", // Homebrew on Apple silicon
	"/usr/local/opt/postgresql*/bin",    // Homebrew on Intel
	"/Applications/Postgres.app/Contents/Versions/*/bin",
	"/Library/PostgreSQL/*/bin",
}

// findPostgres returns a folder with initdb and postgres: an installed one, otherwise one
// downloaded into dir, otherwise one that apt-get installs. version restricts it to a major
// version (existing data needs its own), 0 means the newest.
func findPostgres(ctx context.Context, dir string, version int, log func(string, ...any)) (string, error) {
	if bin := installedPostgres(dir, version); bin != "" {
		return bin, nil
	}
	var tried []string
	log("no Postgres %s here: downloading one into %s", atLeast(version), dir)
	err := downloadPostgres(dir)
	if bin := installedPostgres(dir, version); bin != "" {
		return bin, nil
	}
	tried = append(tried, fmt.Sprintf("download: %v", err))

	if apt, aptErr := exec.LookPath("apt-get"); aptErr == nil && os.Geteuid() == 0 && runtime.GOOS == "linux" {
		log("the download failed (%v): installing Debian's package postgresql", err)
		err = aptInstallPostgres(ctx, apt)
		if bin := installedPostgres(dir, version); bin != "" {
			return bin, nil
		}
		tried = append(tried, fmt.Sprintf("apt-get: %v", err))
	}
	return "", fmt.Errorf(`no Postgres %s found on PATH or in the usual folders, and none could be installed (%s).
Install one and run this again:
  Debian, Ubuntu   sudo apt-get install postgresql
  Fedora, Red Hat  sudo dnf install postgresql-server
  macOS            brew install postgresql
or put the folder of initdb and postgres on PATH`, atLeast(version), strings.Join(tried, "; "))
}

func atLeast(version int) string {
	if version == 0 {
		return fmt.Sprintf("%d or newer", oldestPostgres)
	}
	return fmt.Sprintf("%d (the version of the data)", version)
}

func installedPostgres(dir string, version int) string {
	var candidates []string
	if path, err := exec.LookPath("postgres"); err == nil {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			candidates = append(candidates, filepath.Dir(real))
		}
	}
	for _, pattern := range append(usualFolders, filepath.Join(escapeGlob(dir), "bin")) {
		found, _ := filepath.Glob(pattern) // the patterns are well formed
		slices.SortFunc(found, func(a, b string) int { return postgresVersion(b) - postgresVersion(a) })
		candidates = append(candidates, found...)
	}
	for _, bin := range candidates {
		if _, err := os.Stat(filepath.Join(bin, "initdb")); err != nil {
			continue
		}
		if v := postgresVersion(bin); v == version || version == 0 && v >= oldestPostgres {
			return bin
		}
	}
	return ""
}

func escapeGlob(path string) string {
	return regexp.MustCompile(`[*?\[\\]`).ReplaceAllString(path, `\$0`)
}

var versionPattern = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

// postgresVersion returns the major version in a folder, 0 if there is none.
func postgresVersion(bin string) int {
	out, err := exec.Command(filepath.Join(bin, "postgres"), "--version").Output()
	if err != nil {
		return 0
	}
	match := versionPattern.FindSubmatch(out)
	if match == nil {
		return 0
	}
	version, _ := strconv.Atoi(string(match[1]))
	return version
}

// downloadPostgres unpacks the binaries that embedded-postgres publishes into dir. The library
// cannot do only that: it unpacks, then creates its own database, which fails for root and is
// not needed anyway. So only check whether the binaries are there afterwards.
func downloadPostgres(dir string) error {
	scratch, err := os.MkdirTemp(filepath.Dir(dir), "postgres-download-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	ports, err := FreePorts(1)
	if err != nil {
		return err
	}
	database := embeddedpostgres.NewDatabase(embeddedpostgres.DefaultConfig().
		Port(uint32(ports[0])).
		BinariesPath(dir).
		CachePath(filepath.Join(scratch, "cache")).
		RuntimePath(filepath.Join(scratch, "runtime")).
		DataPath(filepath.Join(scratch, "data")).
		Logger(nil))
	if err := database.Start(); err != nil {
		return err
	}
	return database.Stop()
}

// aptInstallPostgres installs the server without the cluster and service that Debian's package
// would normally set up and start.
func aptInstallPostgres(ctx context.Context, apt string) error {
	const config = "/etc/postgresql-common/createcluster.conf"
	if _, err := os.Stat(config); os.IsNotExist(err) {
		if err := os.MkdirAll(filepath.Dir(config), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(config, []byte("create_main_cluster = false\n"), 0o644); err != nil {
			return err
		}
	}
	for _, args := range [][]string{
		{"update", "-q"},
		{"install", "-y", "-q", "--no-install-recommends", "-o", "Dpkg::Options::=--force-confold", "postgresql"},
	} {
		cmd := exec.CommandContext(ctx, apt, args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("apt-get %s: %w: %s", args[0], err, lastLine(out))
		}
	}
	return nil
}

func lastLine(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}
