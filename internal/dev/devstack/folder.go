package devstack

import (
	"errors"
	"os"
	"path/filepath"
)

// TemporaryFolder makes a folder for the data of servers, which the user that runs Postgres may enter.
// remove removes it with all that is in it.
func TemporaryFolder(prefix string) (folder string, remove func() error, err error) {
	folder, err = os.MkdirTemp("", prefix)
	if err != nil {
		return "", nil, err
	}
	made := folder
	remove = func() error { return os.RemoveAll(made) }
	if folder, err = filepath.EvalSymlinks(made); err == nil {
		err = os.Chmod(folder, 0o755)
	}
	if err != nil {
		return "", nil, errors.Join(err, remove())
	}
	return folder, remove, nil
}
