package server

import (
	"context"
	"encoding/json"

	"github.com/gin-gonic/gin"

	"github.com/tokenhouse/tokenhouse/tokens"
)

// The routes of the list of status lists, and of one of them.
const (
	statusListsPath = tokens.StatusListPath
	statusListPath  = statusListsPath + "/:id"
)

// statusList serves GET /oauth2/status-lists/:id, one signed list
// (draft-ietf-oauth-status-list §8.2).
func (s *Server) statusList(c *gin.Context) {
	publish(s, func(ctx context.Context) (document, error) {
		d, err := s.Services.StatusLists.Document(ctx, c.Param("id"))
		return document{kind: "application/" + tokens.StatusListType, body: d.Body, etag: d.ETag, maxAge: d.MaxAge}, err
	})(c)
}

// statusLists is the answer of the aggregation endpoint (§9.3).
type statusLists struct {
	Lists []string `json:"status_lists"`
}

// listStatusLists serves GET /oauth2/status-lists.
func (s *Server) listStatusLists(ctx context.Context) (document, error) {
	uris, err := s.Services.StatusLists.URIs(ctx)
	if err != nil {
		return document{}, err
	}
	body, err := json.Marshal(statusLists{uris})
	if err != nil {
		return document{}, err
	}
	return documentOf("application/json", body, s.Services.StatusLists.MaxAge()), nil
}
