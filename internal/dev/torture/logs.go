package torture

import (
	"bufio"
	"encoding/json"
	"os"
	"regexp"
	"time"
)

func eachLine(path string, do func(string)) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		do(lines.Text())
	}
	return lines.Err()
}

var postgresTime = regexp.MustCompile(`^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \S+`)

// timeOfLine is when a line of Postgres's or a worker's log was written; zero if the line does
// not say.
func timeOfLine(line string) time.Time {
	if text := postgresTime.FindString(line); text != "" {
		at, _ := time.ParseInLocation("2006-01-02 15:04:05.000 MST", text, time.Local)
		return at
	}
	var logged struct{ TS time.Time }
	_ = json.Unmarshal([]byte(line), &logged) // a panic's lines are not JSON
	return logged.TS
}
