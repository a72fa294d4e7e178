SwaggerUIBundle({
  // Relative, so that the page also works behind a proxy that adds a path prefix.
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  presets: [SwaggerUIBundle.presets.apis, SwaggerUIBundle.SwaggerUIStandalonePreset],
});
