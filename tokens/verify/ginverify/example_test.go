package ginverify_test

import (
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/tokenhouse/tokenhouse/tokens/verify"
	"github.com/tokenhouse/tokenhouse/tokens/verify/ginverify"
)

// A resource server with gin that filters everything by the caller's organisation.
func Example() {
	v := &verify.Verifier{
		Issuer:   "https://auth.example.com",
		Audience: "https://api.example.com",
		Keys:     &verify.RemoteKeys{URL: "https://auth.example.com/.well-known/jwks.json", Now: time.Now},
		Now:      time.Now,
	}
	r := gin.New()
	r.Use(ginverify.Middleware(v))
	r.GET("/agents", ginverify.Require("agents:read"), func(c *gin.Context) {
		c.JSON(http.StatusOK, gin.H{"agents_of": ginverify.Claims(c).OrgID})
	})
}
