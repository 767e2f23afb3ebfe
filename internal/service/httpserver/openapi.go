package httpserver

import (
	"bytes"
	"encoding/json"
	"net/http"
	"sync"
)

// document is kept: strangers may ask for it, and it takes a while to make.
type document struct {
	once sync.Once
	text []byte
	err  error
}

// OpenAPIDocument is the document as JSON, the same each time.
func (s *Server) OpenAPIDocument() ([]byte, error) {
	s.document.once.Do(func() { s.document.text, s.document.err = s.makeDocument() })
	return s.document.text, s.document.err
}

func (s *Server) makeDocument() ([]byte, error) {
	document, err := s.api.OpenAPI().MarshalJSON()
	if err != nil {
		return nil, err
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, document, "", "  "); err != nil {
		return nil, err
	}
	indented.WriteByte('\n')
	return indented.Bytes(), nil
}

func (s *Server) writeOpenAPI(w http.ResponseWriter, _ *http.Request) {
	document, err := s.OpenAPIDocument()
	if err != nil {
		s.problemOf(err).write(w)
		return
	}
	w.Header().Set("Content-Type", "application/vnd.oai.openapi+json")
	_, _ = w.Write(document)
}
