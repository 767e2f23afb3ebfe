package httpserver

import (
	"bytes"
	"encoding/json"
)

// OpenAPIDocument is the document as JSON, the same each time.
func (s *Server) OpenAPIDocument() ([]byte, error) {
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
