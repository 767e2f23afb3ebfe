package bench

import (
	"bufio"
	"cmp"
	"context"
	"os"
	"runtime"
	"strings"

	"github.com/jackc/pgx/v5"
	"go.temporal.io/api/workflowservice/v1"
	"golang.org/x/sys/unix"
)

// Machine describes where the figures come from.
type Machine struct {
	CPU         string  `json:"cpu"`
	CPUs        int     `json:"cpus"`
	MemoryGiB   float64 `json:"memory_gib"`
	OS          string  `json:"os"`
	Go          string  `json:"go"`
	Postgres    string  `json:"postgres"`
	PostgresSet string  `json:"postgres_settings"` // that decide what a commit costs
	Temporal    string  `json:"temporal"`
}

const sqlPostgresSettings = `SELECT string_agg(name || '=' || current_setting(name), ' ' ORDER BY name)
	FROM unnest(ARRAY['fsync', 'synchronous_commit', 'full_page_writes', 'shared_buffers']) AS name`

// DescribeMachine asks the machine and the servers of an environment.
func DescribeMachine(ctx context.Context, e Environment) (Machine, error) {
	model, memory := hardware()
	m := Machine{
		CPU: cmp.Or(model, runtime.GOARCH), CPUs: runtime.NumCPU(), MemoryGiB: float64(memory) / (1 << 30),
		OS: operatingSystem(), Go: runtime.Version(),
	}
	conn, err := pgx.Connect(ctx, e.DatabaseURL)
	if err != nil {
		return m, err
	}
	defer conn.Close(ctx)
	if err := conn.QueryRow(ctx, `SHOW server_version`).Scan(&m.Postgres); err != nil {
		return m, err
	}
	if err := conn.QueryRow(ctx, sqlPostgresSettings).Scan(&m.PostgresSet); err != nil {
		return m, err
	}
	info, err := e.Temporal.WorkflowService().GetSystemInfo(ctx, &workflowservice.GetSystemInfoRequest{})
	m.Temporal = info.GetServerVersion()
	return m, err
}

// operatingSystem is the distribution and the kernel.
func operatingSystem() string {
	name := runtime.GOOS
	if file, err := os.Open("/etc/os-release"); err == nil {
		defer file.Close()
		for lines := bufio.NewScanner(file); lines.Scan(); {
			if pretty, ok := strings.CutPrefix(lines.Text(), "PRETTY_NAME="); ok {
				name = strings.Trim(pretty, `"`)
			}
		}
	}
	var kernel unix.Utsname
	if unix.Uname(&kernel) == nil {
		version, _, _ := strings.Cut(unix.ByteSliceToString(kernel.Release[:]), "-") // without its builder's name
		name += ", " + unix.ByteSliceToString(kernel.Sysname[:]) + " " + version
	}
	return name
}
