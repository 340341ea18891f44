// Package ginverify puts a verify.Verifier before the routes of a gin server:
//
//	r := gin.New()
//	r.Use(ginverify.Middleware(v))
//	r.GET("/agents", ginverify.Require("agents:read"), func(c *gin.Context) {
//		claims := ginverify.Claims(c)
//		c.JSON(http.StatusOK, agentsOf(claims.OrgID))
//	})
//
// Every answer is the one that package verify gives behind net/http, to the
// byte: it is the same code. What is checked, and how tokens are revoked, stands
// there.
package ginverify

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/tokenhouse/tokenhouse/tokens/verify"
)

// Middleware lets a request with a good access token pass on, and answers every
// other one and aborts it. The claims are also in the context of the request,
// where verify.ClaimsFrom finds them.
func Middleware(v *verify.Verifier) gin.HandlerFunc { return through(v.Middleware) }

// Require lets a request pass on whose token allows the permission, and answers
// 403 otherwise. It stands behind Middleware; without it every request is
// answered 401.
func Require(permission string) gin.HandlerFunc {
	return through(func(next http.Handler) http.Handler { return verify.Require(permission, next) })
}

// Claims returns what the token of the request says. It panics where the request
// did not pass through Middleware: a route without claims would be one that
// forgot to ask who is there.
func Claims(c *gin.Context) verify.Claims {
	claims, ok := verify.ClaimsFrom(c.Request.Context())
	if !ok {
		panic("ginverify: Claims of a route that is not behind Middleware")
	}
	return claims
}

// through makes a gin handler of a net/http middleware: what passes it goes on
// down gin's chain.
func through(middleware func(http.Handler) http.Handler) gin.HandlerFunc {
	return func(c *gin.Context) {
		passed := false
		next := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			passed, c.Request = true, r
			c.Next()
		})
		middleware(next).ServeHTTP(c.Writer, c.Request)
		if !passed {
			c.Abort()
		}
	}
}
