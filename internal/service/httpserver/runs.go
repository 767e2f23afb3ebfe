package httpserver

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/access"
	"github.com/valueledger/wallet/internal/service/runcontrol"
	"github.com/valueledger/wallet/runs"
)

// RunPath is the input of a route whose path names a run. A run is about any wallet, so a token that
// is bound to some may not use it.
type RunPath struct {
	ID string `path:"run_id" doc:"the run's id; a slash in it is written as %2F"`
}

func (p *RunPath) wallets() ([]wallet.AssetRef, error) {
	return []wallet.AssetRef{{}}, wallet.ValidateRunID(p.ID)
}

type fileInput struct {
	RunPath
	File        string `query:"file" maxLength:"255" doc:"its name, to be shown"`
	SkipInvalid bool   `query:"skip_invalid" doc:"leave out invalid lines, and list them among the run's failures"`
}

// RunCheck is what would become of a file, with the first of the lines that would fail.
type RunCheck struct {
	runs.CheckReport
	Failures []runs.Failure `json:"failures"`
}

// controlTimeout is longer than a step of a run, which a pause waits for.
const controlTimeout = 30 * time.Second

// maxCheckFailures is how many failures a check returns.
const maxCheckFailures = 1000

// Limits of a file to check: some 100 bytes of each line stay in memory, and all of it is on disk
// several times.
var (
	maxCheckLines int64 = 500_000
	maxCheckBytes int64 = 64 << 20
)

func tooLargeToCheck() *Problem {
	p := problem(tooLarge, "the file has more than %d lines or %d bytes", maxCheckLines, maxCheckBytes)
	p.Remedy = `check it with "wallet run check", or stage it and start it: a line that is refused changes nothing`
	return p
}

type checkRunInput struct {
	everyWallet
	ID string `query:"run_id" default:"check" doc:"the id that the run will have: the ids of lines without one are made from it"`
}

type listRunsInput struct {
	everyWallet
	Paging
	After string `query:"after" doc:"next of the page before"`
}

type failuresInput struct {
	RunPath
	Paging
	After int64 `query:"after" minimum:"0" doc:"next of the page before"`
}

type startInput struct {
	RunPath
	Parallel int `query:"parallel" minimum:"1" maximum:"16" doc:"how many transactions run at once (default 4)"`
}

func (s *Server) runRoutes() {
	control := runcontrol.Control{DB: s.options.Pool, Wallets: s.wallets}
	const ofRun = prefix + "/runs/{run_id}"
	post := func(name, summary string) route {
		return route{id: name + "-run", method: http.MethodPost, path: ofRun + "/" + name, summary: summary, scope: access.Write,
			errors: []int{http.StatusNotFound, http.StatusConflict}, timeout: controlTimeout}
	}
	register(s, route{
		id: "stage-run", method: http.MethodPut, path: ofRun + "/file", scope: access.Write, body: fileBody(), file: true, timeout: uploadTimeout,
		summary: "Stage the lines of a file, all or none", errors: []int{http.StatusConflict},
		text: "The same file again changes nothing; another one under the same id is 409. Start it with start-run.",
	}, s.stageRun)
	register(s, route{
		id: "check-run", method: http.MethodPost, path: prefix + "/runs/check", scope: access.Write, body: fileBody(), file: true, timeout: uploadTimeout,
		summary: "Say which lines of a file are invalid, or would be refused now", text: "Nothing is written. The file has at most 500,000 lines and 64 MB. Of the failures, the first 1,000 are returned.",
	}, s.checkRun)
	register(s, post("start", "Apply the lines of a run that is staged"), func(ctx context.Context, in *startInput) (*bodyOf[wallet.RunStatus], error) {
		return bodyOrError(control.Start(ctx, wallet.RunInput{RunID: in.ID, Parallel: in.Parallel}))
	})
	for name, row := range map[string]struct {
		summary string
		do      func(runcontrol.Control, context.Context, string) (wallet.RunStatus, error)
	}{
		"pause":  {"Stop a run after the lines in progress", runcontrol.Control.Pause},
		"resume": {"Continue a run that was paused, cancelled, or lost its workflow", runcontrol.Control.Resume},
		"cancel": {"Stop a run for good: what is applied stays", runcontrol.Control.Cancel},
	} {
		register(s, post(name, row.summary), func(ctx context.Context, in *RunPath) (*bodyOf[wallet.RunStatus], error) {
			return bodyOrError(row.do(control, ctx, in.ID))
		})
	}
	register(s, read("list-runs", prefix+"/runs", "The runs, newest first"), func(ctx context.Context, in *listRunsInput) (*bodyOf[Page[wallet.RunStatus]], error) {
		if in.After != "" {
			if err := wallet.ValidateRunID(in.After); err != nil {
				return nil, err
			}
		}
		list, err := runs.ListAfter(ctx, s.options.Pool, in.After, in.Limit)
		if err != nil {
			return nil, err
		}
		return pageOf(list, in.Limit, func(r wallet.RunStatus) string { return r.RunID }), nil
	})
	register(s, get("get-run", ofRun, "How far a run is"), func(ctx context.Context, in *RunPath) (*bodyOf[wallet.RunStatus], error) {
		return bodyOrError(runs.Status(ctx, s.options.Pool, in.ID))
	})
	failures := get("list-run-failures", ofRun+"/failures", "The refused and invalid lines of a run, in the order of the file")
	failures.text = "Until the run is done, any line can still fail: then read them again from the first."
	register(s, failures, func(ctx context.Context, in *failuresInput) (*bodyOf[Page[runs.Failure]], error) {
		if _, err := runs.Status(ctx, s.options.Pool, in.ID); err != nil {
			return nil, err
		}
		list, err := runs.FailuresAfter(ctx, s.options.Pool, in.ID, in.After, in.Limit)
		if err != nil {
			return nil, err
		}
		return pageOf(list, in.Limit, func(f runs.Failure) string { return strconv.FormatInt(f.Line, 10) }), nil
	})
}

// fileOf is a file that a bearer sends. The bearer is the actor of its lines.
func fileOf(ctx context.Context, id, name string) runs.File {
	bearer := access.From(ctx)
	return runs.File{ID: id, Path: name, Actor: bearer.Subject, OnlyActor: bearer.Subject != "" && !bearer.Has(access.Admin)}
}

func (s *Server) stageRun(ctx context.Context, in *fileInput) (*bodyOf[wallet.RunStatus], error) {
	if strings.ContainsFunc(in.File, unicode.IsControl) {
		return nil, badInput("file", in.File, "the name of the file has a control character")
	}
	if in.File == "" {
		in.File = "upload"
	}
	content, err := openUpload(ctx, &s.stages, maxFileBytes, problem(tooLarge, "the file has more than %d bytes: send it in parts, each a run of its own", maxFileBytes))
	if err != nil {
		return nil, err
	}
	defer content.close()
	file := fileOf(ctx, in.ID, in.File)
	file.SkipInvalid = in.SkipInvalid
	status, err := runs.Stage(ctx, s.options.Pool, file, content)
	if content.failed != nil { // net/http has cancelled the request too, and Postgres may have noticed first
		err = content.failed
	}
	return bodyOrError(status, err)
}

// checkRun keeps the file on disk: the check reads it in parts.
func (s *Server) checkRun(ctx context.Context, in *checkRunInput) (*bodyOf[RunCheck], error) {
	if err := wallet.ValidateRunID(in.ID); err != nil {
		return nil, err
	}
	content, err := openUpload(ctx, &s.checks, maxCheckBytes, tooLargeToCheck())
	if err != nil {
		return nil, err
	}
	defer content.close()
	file, err := os.CreateTemp("", "wallet-run-upload-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(file.Name())
	_, err = io.Copy(file, content)
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, err
	}
	keepOpen(ctx, uploadTimeout)
	answer := RunCheck{Failures: []runs.Failure{}}
	check := runs.Check{File: fileOf(ctx, in.ID, file.Name()), MaxLines: maxCheckLines, Failed: func(f runs.Failure) error {
		if len(answer.Failures) < maxCheckFailures {
			answer.Failures = append(answer.Failures, f)
		}
		return nil
	}}
	answer.CheckReport, err = check.Run(ctx, s.options.Pool)
	if errors.Is(err, runs.ErrTooManyLines) {
		return nil, tooLargeToCheck()
	}
	return bodyOrError(answer, err)
}
