"use strict";
// What the other scripts share. Text from data reaches the page as text nodes only, never as markup.

/** The JSON that the page carries in the script element of that id. */
function readData(id) {
  return JSON.parse(document.getElementById(id).textContent);
}

/** An element with attributes and children; strings become text nodes, what is null or false is left out. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== false));
  return element;
}

/** The value of a custom property of style.css, in the colour scheme of the moment. */
function property(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
